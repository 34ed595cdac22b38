/* A client: a socket and a few counters. */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 262144, BURST_SIZE = 262144 };

/* Used up before the next read. No packet is shorter than its acknowledgement. */
static uint8_t incoming[READ_SIZE], acks[READ_SIZE];

static void keep(Bytes *kept, const uint8_t *bytes, size_t size) {
  if (kept->size + size > kept->capacity) {
    kept->capacity = 2 * (kept->size + size);
    kept->bytes = realloc(kept->bytes, kept->capacity);
  }
  memcpy(kept->bytes + kept->size, bytes, size);
  kept->size += size;
}

static void watch(Peer *peer, int operation, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = peer};
  if (epoll_ctl(poller, operation, peer->fd, &event) != 0) fail("epoll_ctl: %s", strerror(errno));
}

/* A name may have addresses at which nobody listens. */
static int connect_to(const char *host, const char *port) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all;
  int unknown = getaddrinfo(host, port, &hints, &all);
  if (unknown != 0) fail("%s: %s", host, gai_strerror(unknown));
  int fd = -1;
  for (struct addrinfo *one = all; one != NULL; one = one->ai_next) {
    fd = socket(one->ai_family, SOCK_STREAM, 0);
    if (fd < 0) fail("socket: %s", strerror(errno));
    if (connect(fd, one->ai_addr, one->ai_addrlen) == 0) break;
    if (one->ai_next == NULL) fail("connect: %s", strerror(errno));
    close(fd);
  }
  freeaddrinfo(all);
  return fd;
}

void peer_dial(Peer *peer, const char *host, const char *port) {
  peer->fd = connect_to(host, port);
  int on = 1;
  setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  /* No FIN, no TIME_WAIT at the end: the next round needs the ports. */
  struct linger abrupt = {.l_onoff = 1};
  setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &abrupt, sizeof abrupt);
  fcntl(peer->fd, F_SETFL, O_NONBLOCK);
  watch(peer, EPOLL_CTL_ADD, EPOLLIN);
  const Packet *first = &peer->openings.packets[0];
  peer_send(peer, first->bytes, first->size);
}

void peer_answered(Peer *peer) {
  peer->opened++;
  if (peer_is_open(peer)) return;
  const Packet *next = &peer->openings.packets[peer->opened];
  peer_send(peer, next->bytes, next->size);
}

bool peer_is_open(const Peer *peer) {
  return peer->opened == peer->openings.count;
}

/* Returns how many of the bytes the socket has taken. */
static size_t take(const Peer *peer, const uint8_t *bytes, size_t size) {
  ssize_t taken = write(peer->fd, bytes, size);
  if (taken >= 0) return taken;
  if (errno != EAGAIN) fail("write: %s", strerror(errno));
  return 0;
}

void peer_send(Peer *peer, const uint8_t *bytes, size_t size) {
  size_t taken = peer->unsent.size > 0 ? 0 : take(peer, bytes, size);
  if (taken == size) return;
  if (peer->unsent.size == 0) watch(peer, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
  keep(&peer->unsent, bytes + taken, size - taken);
}

void peer_send_unsent(Peer *peer) {
  Bytes *unsent = &peer->unsent;
  size_t taken = take(peer, unsent->bytes, unsent->size);
  unsent->size -= taken;
  memmove(unsent->bytes, unsent->bytes + taken, unsent->size);
  if (unsent->size == 0) watch(peer, EPOLL_CTL_MOD, EPOLLIN);
}

void peer_read(Peer *peer) {
  size_t kept = peer->unread.size;
  if (kept > READ_SIZE / 2) fail("a packet is too long for this generator");
  if (kept > 0) memcpy(incoming, peer->unread.bytes, kept);
  ssize_t got = read(peer->fd, incoming + kept, READ_SIZE - kept);
  if (got < 0 && errno == EAGAIN) return;
  if (got < 0) fail("read: %s", strerror(errno));
  if (got == 0) fail("closed by the broker");
  size_t size = kept + got, acks_size;
  size_t used = mqtt_read(peer, incoming, size, acks, &acks_size);
  peer->unread.size = 0;
  if (used < size) keep(&peer->unread, incoming + used, size - used);
  if (acks_size > 0) peer_send(peer, acks, acks_size);
}

int peer_room(const Peer *peer) {
  return peer->unsent.size > 0 ? 0 : peer->max_unacked - peer->unacked;
}

void peer_publish(Peer *peer, uint32_t count) {
  static uint8_t burst[BURST_SIZE];
  size_t size = 0;
  for (uint32_t i = 0; i < count; i++) {
    const Packet *packet = &peer->topics.packets[peer->next_topic];
    if (size + packet->size > BURST_SIZE) fail("payloads are too large for this generator");
    uint8_t *to = burst + size;
    double now = now_ms();
    memcpy(to, packet->bytes, packet->size);
    memcpy(to + packet->payload_at, &now, sizeof now);
    if (packet->id_at > 0) {
      if (++peer->packet_id == 0) peer->packet_id = 1;
      to[packet->id_at] = peer->packet_id >> 8;
      to[packet->id_at + 1] = peer->packet_id;
      peer->unacked++;
    }
    size += packet->size;
    if (++peer->next_topic == peer->topics.count) peer->next_topic = 0;
  }
  tally.sent += count;
  peer_send(peer, burst, size);
}
