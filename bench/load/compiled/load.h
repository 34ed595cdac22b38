/* The load generator without an engine around it: MQTT over plain TCP, one thread, a closed loop. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An encoded packet; where its packet id is to be written (0: it has none), and the time in its payload. */
typedef struct {
  const uint8_t *bytes;
  uint32_t size, id_at, payload_at;
} Packet;

typedef struct {
  const Packet *packets;
  uint32_t count;
} Packets;

/* Bytes that wait: the beginning of a packet that has not come whole, or what the socket does not take yet. */
typedef struct {
  uint8_t *bytes;
  size_t size, capacity;
} Bytes;

typedef struct {
  int fd;
  Packets openings; /* each is sent when the one before has been answered */
  uint32_t opened;
  Packets topics; /* what it publishes, one after the other */
  uint32_t next_topic;
  uint16_t packet_id;
  int unacked, max_unacked;
  Bytes unread, unsent;
} Peer;

/* What Node has worked out; see compiled.mjs for how it is written. Times are in milliseconds. */
typedef struct {
  uint32_t mqtt_version, fan, window, warm_up_ms, run_ms, max_unacked;
  uint32_t peer_count;
  Peer *peers;
} Plan;

typedef struct {
  uint64_t received, sent;
  double *waits; /* of every sixteenth delivery, MAX_WAITS at most */
  uint32_t wait_count;
} Tally;

enum { MAX_WAITS = 1 << 20 };

extern Tally tally;
extern Plan plan;

/* plan.c */
void read_plan(void);

/* peer.c */
void peer_dial(Peer *peer, const char *host, const char *port);
void peer_read(Peer *peer);
void peer_send(Peer *peer, const uint8_t *bytes, size_t size);
void peer_send_unsent(Peer *peer);
void peer_publish(Peer *peer, uint32_t count);
bool peer_is_open(const Peer *peer);
/* How many messages it may send now: none while something waits for the socket. */
int peer_room(const Peer *peer);
/* CONNACK or SUBACK has come. */
void peer_answered(Peer *peer);

/* mqtt.c: handles whole packets and writes acknowledgements; returns how many bytes were used. */
size_t mqtt_read(Peer *peer, const uint8_t *bytes, size_t size, uint8_t *acks, size_t *acks_size);

/* flow.c */
extern int poller;
double now_ms(void);
/* Tells why, and ends the process. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
