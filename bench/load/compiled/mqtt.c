/* As much of MQTT 3.1.1 and 5.0 as a client needs that sends what was encoded before. */
#include "load.h"

#include <string.h>

enum { CONNACK = 2, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK = 9 };
enum { RECEIVE_MAXIMUM = 0x21, USER_PROPERTY = 0x26 };

static uint32_t short_at(const uint8_t *bytes) {
  return bytes[0] << 8 | bytes[1];
}

static uint8_t *acknowledge(uint8_t *to, uint8_t first, const uint8_t *packet_id) {
  to[0] = first;
  to[1] = 2;
  to[2] = packet_id[0];
  to[3] = packet_id[1];
  return to + 4;
}

static uint32_t size_of_property(uint8_t id, const uint8_t *value) {
  switch (id) {
    case 0x24: case 0x25: case 0x28: case 0x29: case 0x2a:
      return 1;
    case 0x13: case 0x21: case 0x22:
      return 2;
    case 0x11: case 0x27:
      return 4;
    case USER_PROPERTY: {
      uint32_t name = 2 + short_at(value);
      return name + 2 + short_at(value + name);
    }
    default:
      return 2 + short_at(value);
  }
}

/* Properties of CONNACK are short enough for a length of one byte. */
static uint32_t receive_maximum(const uint8_t *properties) {
  const uint8_t *end = properties + 1 + properties[0];
  for (const uint8_t *at = properties + 1; at < end; at += 1 + size_of_property(*at, at + 1)) {
    if (*at == RECEIVE_MAXIMUM) return short_at(at + 1);
  }
  return 65535;
}

static void connected(Peer *peer, const uint8_t *body) {
  if (body[1] != 0) fail("refused with %d", body[1]);
  if (plan.mqtt_version == 5) {
    int most = receive_maximum(body + 2);
    if (most < peer->max_unacked) peer->max_unacked = most;
  }
  peer_answered(peer);
}

/* Returns where its acknowledgement ends. */
static uint8_t *delivered(uint8_t first, const uint8_t *body, uint8_t *acks) {
  int qos = first >> 1 & 3;
  const uint8_t *payload = body + 2 + short_at(body);
  if (qos > 0) {
    acks = acknowledge(acks, qos == 1 ? 0x40 : 0x50, payload);
    payload += 2;
  }
  if (plan.mqtt_version == 5) payload += 1 + payload[0];
  if ((++tally.received & 15) == 0 && tally.wait_count < MAX_WAITS) {
    double sent_at;
    memcpy(&sent_at, payload, sizeof sent_at);
    tally.waits[tally.wait_count++] = now_ms() - sent_at;
  }
  return acks;
}

static uint8_t *handle(Peer *peer, uint8_t first, const uint8_t *body, uint8_t *acks) {
  switch (first >> 4) {
    case PUBLISH:
      return delivered(first, body, acks);
    case PUBACK:
    case PUBCOMP:
      peer->unacked--;
      return acks;
    case PUBREC:
      return acknowledge(acks, 0x62, body);
    case PUBREL:
      return acknowledge(acks, 0x70, body);
    case CONNACK:
      connected(peer, body);
      return acks;
    case SUBACK:
      peer_answered(peer);
      return acks;
  }
  fail("a packet of type %d has come", first >> 4);
}

/* Where the body of the packet begins, and `length` of it; NULL while that has not come. */
static const uint8_t *body_of(const uint8_t *packet, const uint8_t *end, uint32_t *length) {
  *length = 0;
  for (int i = 1; i <= 4 && packet + i < end; i++) {
    *length |= (uint32_t)(packet[i] & 127) << 7 * (i - 1);
    if (packet[i] < 128) return packet + i + 1;
  }
  return NULL;
}

size_t mqtt_read(Peer *peer, const uint8_t *bytes, size_t size, uint8_t *acks, size_t *acks_size) {
  const uint8_t *at = bytes, *end = bytes + size;
  uint8_t *acks_end = acks;
  for (uint32_t length;;) {
    const uint8_t *body = body_of(at, end, &length);
    if (body == NULL || (size_t)(end - body) < length) break;
    acks_end = handle(peer, *at, body, acks_end);
    at = body + length;
  }
  *acks_size = acks_end - acks;
  return at - bytes;
}
