/*
 * flow HOST PORT: publishers and subscribers in a closed loop, as flow.mjs has them, and with its messages, one JSON object
 * a line. It never sleeps while something may be delivered: a broker's figures are those beside peers that take what there is
 * at once.
 */
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { BURST = 10, BURSTS_PER_TURN = 64, DIALS_AT_ONCE = 64, EVENTS_PER_TURN = 512 };
enum { STALL_MS = 1000, MAX_SLEEP_MS = 1 };

Tally tally;
int poller;
static uint64_t lost;
static bool may_go_on;

double now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e3 + now.tv_nsec * 1e-6;
}

_Noreturn void fail(const char *format, ...) {
  char reason[256];
  va_list values;
  va_start(values, format);
  vsnprintf(reason, sizeof reason, format, values);
  va_end(values);
  printf("{\"failed\":\"%s\"}\n", reason);
  fflush(stdout);
  _exit(1);
}

/* One that comes for nothing on standard input is `go on`; its end is that of whoever wanted this. */
static void listen_to_parent(void) {
  char byte;
  if (read(STDIN_FILENO, &byte, 1) <= 0) _exit(1);
  may_go_on = true;
}

static void take_turn(int patience_ms) {
  struct epoll_event events[EVENTS_PER_TURN];
  int count = epoll_wait(poller, events, EVENTS_PER_TURN, patience_ms);
  for (int i = 0; i < count; i++) {
    Peer *peer = events[i].data.ptr;
    if (peer == NULL) {
      listen_to_parent();
      continue;
    }
    if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) peer_read(peer);
    if (events[i].events & EPOLLOUT) peer_send_unsent(peer);
  }
}

/* In their order, some at a time: those who publish come last. */
static void open_all(const char *host, const char *port) {
  for (uint32_t dialled = 0, open = 0; open < plan.peer_count;) {
    while (dialled < plan.peer_count && dialled - open < DIALS_AT_ONCE) {
      peer_dial(&plan.peers[dialled++], host, port);
    }
    take_turn(-1);
    while (open < dialled && peer_is_open(&plan.peers[open])) open++;
  }
}

/* How many messages the window has room for. */
static int64_t room(void) {
  if (plan.fan == 0) return BURST;
  int64_t outstanding = (int64_t)(tally.sent * plan.fan - tally.received - lost);
  return ((int64_t)plan.window - outstanding + plan.fan - 1) / (int64_t)plan.fan;
}

/* Returns false if nobody can send any more, whatever room there is. */
static bool publish(Peer *publishers, uint32_t count) {
  static uint32_t turn;
  for (uint32_t bursts = BURSTS_PER_TURN, blocked = 0; bursts > 0;) {
    if (blocked == count) return false;
    int64_t most = room();
    if (most <= 0) return true;
    Peer *publisher = &publishers[turn++ % count];
    if (most > BURST) most = BURST;
    if (most > peer_room(publisher)) most = peer_room(publisher);
    if (most <= 0) {
      blocked++;
      continue;
    }
    blocked = 0;
    bursts--;
    peer_publish(publisher, most);
  }
  return true;
}

/* What a broker drops would leave the window full for ever. */
static void forgive_lost(double now) {
  static double looked_at;
  static uint64_t seen = UINT64_MAX; /* what had been received one look ago */
  if (now - looked_at < STALL_MS) return;
  if (plan.fan > 0 && seen == tally.received && room() <= 0) lost = tally.sent * plan.fan - tally.received;
  seen = tally.received;
  looked_at = now;
}

static void pump(Peer *publishers, uint32_t publisher_count) {
  static bool can_publish = true;
  /* Where nothing is delivered there is nothing to be prompt for. */
  take_turn(plan.fan == 0 && !can_publish ? MAX_SLEEP_MS : 0);
  can_publish = publish(publishers, publisher_count);
  forgive_lost(now_ms());
}

static void pump_for(uint32_t ms, Peer *publishers, uint32_t publisher_count) {
  for (double end = now_ms() + ms; now_ms() < end;) pump(publishers, publisher_count);
}

typedef struct {
  double at_ms;
  uint64_t received, sent;
} Count;

/* Tells that the broker's figures are to be read now; the load goes on until they are. */
static Count tell(const char *phase, Peer *publishers, uint32_t publisher_count) {
  Count count = {.at_ms = now_ms(), .received = tally.received, .sent = tally.sent};
  printf("{\"phase\":\"%s\"}\n", phase);
  fflush(stdout);
  for (may_go_on = false; !may_go_on;) pump(publishers, publisher_count);
  return count;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Of sorted waits. */
static void tell_percentile(const char *name, double share) {
  if (tally.wait_count == 0) return;
  printf(",\"%s\":%.4f", name, tally.waits[(uint32_t)((tally.wait_count - 1) * share)]);
}

static void run(Peer *publishers, uint32_t publisher_count) {
  pump_for(plan.warm_up_ms, publishers, publisher_count);
  tally.wait_count = 0;
  Count begin = tell("begin", publishers, publisher_count);
  pump_for(plan.run_ms, publishers, publisher_count);
  Count end = tell("end", publishers, publisher_count);
  qsort(tally.waits, tally.wait_count, sizeof *tally.waits, by_size);
  printf("{\"result\":{\"seconds\":%.6f", (end.at_ms - begin.at_ms) / 1000);
  printf(",\"deliveries\":%" PRIu64, end.received - begin.received);
  printf(",\"published\":%" PRIu64 ",\"lost\":%" PRIu64, end.sent - begin.sent, lost);
  tell_percentile("p50Ms", 0.5);
  tell_percentile("p99Ms", 0.99);
  puts("}}");
}

int main(int count, char **arguments) {
  if (count != 3) fail("flow HOST PORT");
  signal(SIGPIPE, SIG_IGN);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  read_plan();
  tally.waits = malloc(MAX_WAITS * sizeof *tally.waits);
  poller = epoll_create1(0);
  struct epoll_event parent = {.events = EPOLLIN, .data.ptr = NULL};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &parent) != 0) fail("standard input: %s", strerror(errno));
  open_all(arguments[1], arguments[2]);
  uint32_t first = plan.peer_count;
  while (first > 0 && plan.peers[first - 1].topics.count > 0) first--;
  run(&plan.peers[first], plan.peer_count - first);
}
