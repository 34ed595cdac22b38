/* Reads the plan from standard input: numbers of four bytes, the lowest first, and bytes that follow their number. */
#include "load.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Plan plan;

static const uint8_t *at;

static void read_all(uint8_t *bytes, size_t size) {
  for (size_t got = 0; got < size;) {
    ssize_t n = read(STDIN_FILENO, bytes + got, size - got);
    if (n <= 0) fail("the plan is not whole");
    got += n;
  }
}

static uint32_t number(void) {
  uint32_t value = at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
  at += 4;
  return value;
}

static Packets packets(void) {
  uint32_t count = number();
  Packet *list = calloc(count, sizeof *list);
  for (uint32_t i = 0; i < count; i++) {
    uint32_t id_at = number(), payload_at = number(), size = number();
    list[i] = (Packet){.bytes = at, .size = size, .id_at = id_at, .payload_at = payload_at};
    at += size;
  }
  return (Packets){.packets = list, .count = count};
}

void read_plan(void) {
  uint8_t size[4];
  read_all(size, sizeof size);
  at = size;
  uint32_t length = number();
  uint8_t *bytes = malloc(length); /* packets point into it */
  read_all(bytes, length);
  at = bytes;
  plan.mqtt_version = number();
  plan.fan = number();
  plan.window = number();
  plan.warm_up_ms = number();
  plan.run_ms = number();
  plan.max_unacked = number();
  uint32_t list_count = number();
  Packets *lists = calloc(list_count, sizeof *lists);
  for (uint32_t i = 0; i < list_count; i++) lists[i] = packets();
  plan.peer_count = number();
  plan.peers = calloc(plan.peer_count, sizeof *plan.peers);
  for (uint32_t i = 0; i < plan.peer_count; i++) {
    Peer *peer = &plan.peers[i];
    peer->openings = packets();
    peer->max_unacked = plan.max_unacked;
    uint32_t list = number(); /* 0: it does not publish */
    if (list > 0) peer->topics = lists[list - 1];
  }
  free(lists);
}
