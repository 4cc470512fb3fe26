/* An open-loop load generator for rates at which Python would be late: one thread, epoll, HTTP/1.1 without pipelining.
 *
 *   flood PORT RATE SECONDS AT_ONCE TIMEOUT_S <SHOTS >RECORDS
 *
 * SHOTS: (u32 length, request, u32 length, body of the right answer)*, sent in turn to 127.0.0.1. Requests leave at their set
 * times over an idle connection, or a new one; with AT_ONCE unanswered the next count as not sent. RECORDS: for each request
 * (i16 what, float late_s, float latency_s): how late it left, and from its set time to the end of its answer. `what` is the
 * status; 0 for 200 with the right body, else one of:
 */
enum { RIGHT = 0, OTHER_BODY = -1, NOT_SENT = -2, NO_ANSWER = -3, CLOSED = -4, NOT_CONNECTED = -5 };

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct shot { uint32_t request_length, answer_length; const char *request, *answer; };
struct record { int16_t what; float late_s, latency_s; } __attribute__((packed));
struct connection {
  int fd, connected;
  long request;              /* its number; -1 while idle */
  size_t sent, got, whole;   /* of the request; of the answer; the answer's length, 0 until its head is here */
  struct connection *next;   /* idle */
  double idle_since;
  char data[16384];
};

static struct shot *shots;
static size_t shot_count;
static struct record *records;
static struct connection *connections, *idle;
static long at_once, used, flying, answered;
static double began, rate;
static int poller;
static struct sockaddr_in address;

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

static void die(const char *what) { perror(what); exit(1); }

static void end(struct connection *c, int what) {
  if (c->request >= 0) {
    records[c->request].what = (int16_t)what;
    records[c->request].latency_s = (float)(now() - began - (double)c->request / rate);
    answered++;
    flying--;
  }
  c->request = -1;
  c->sent = c->got = c->whole = 0;
}

static void drop(struct connection *c, int what) {
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
  c->connected = 0;
  end(c, what);
}

static void rest(struct connection *c) {
  c->idle_since = now();
  c->next = idle;
  idle = c;
}

static void write_more(struct connection *c) {
  const struct shot *shot = &shots[(size_t)c->request % shot_count];
  while (c->sent < shot->request_length) {
    ssize_t n = send(c->fd, shot->request + c->sent, shot->request_length - c->sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) { drop(c, CLOSED); rest(c); return; }
    c->sent += (size_t)n;
  }
}

static void start(struct connection *c) {
  int on = 1;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (c->fd < 0) die("socket");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
  int failed = connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS;
  if (failed || epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0) { drop(c, NOT_CONNECTED); rest(c); }
}

static void read_more(struct connection *c) {
  for (;;) {
    ssize_t n = recv(c->fd, c->data + c->got, sizeof c->data - 1 - c->got, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      int idle_already = c->request < 0;
      drop(c, c->connected ? CLOSED : NOT_CONNECTED);
      if (!idle_already) rest(c);
      return;
    }
    c->got += (size_t)n;
    c->data[c->got] = 0;
    char *body = strstr(c->data, "\r\n\r\n");
    if (body == NULL) continue;
    body += 4;
    if (c->whole == 0) {
      char *length = strcasestr(c->data, "\r\ncontent-length:");
      if (length == NULL || length > body) { drop(c, NO_ANSWER); rest(c); return; }
      c->whole = (size_t)(body - c->data) + strtoul(length + 17, NULL, 10);
    }
    if (c->got < c->whole) continue;
    int status = atoi(c->data + 9);
    if (status == 200 && c->request >= 0) {
      const struct shot *shot = &shots[(size_t)c->request % shot_count];
      size_t length = c->whole - (size_t)(body - c->data);
      status = length == shot->answer_length && memcmp(body, shot->answer, length) == 0 ? RIGHT : OTHER_BODY;
    }
    char *closes = strcasestr(c->data, "\r\nconnection: close");
    if (closes != NULL && closes < body) drop(c, status); else end(c, status);
    rest(c);
    return;
  }
}

static void fire(long number, double timeout_s) {
  records[number].late_s = (float)(now() - began - (double)number / rate);
  struct connection *c = idle;
  if (c != NULL) {
    idle = c->next;
    /* A connection that rested for long may be closed by the server just as the request leaves. */
    if (c->fd >= 0 && now() - c->idle_since > timeout_s / 5) drop(c, CLOSED);
  } else if (used < at_once) {
    c = &connections[used++];
    c->fd = -1;
    c->request = -1;
  } else {
    records[number].what = NOT_SENT;
    answered++;
    return;
  }
  c->request = number;
  flying++;
  if (c->fd < 0) start(c); else write_more(c);
}

static void read_shots(void) {
  size_t size = 0, room = 1 << 20, n;
  char *all = malloc(room);
  while ((n = fread(all + size, 1, room - size, stdin)) > 0)
    if ((size += n) == room) all = realloc(all, room *= 2);
  for (char *at = all; at < all + size; shot_count++) {
    shots = realloc(shots, (shot_count + 1) * sizeof *shots);
    struct shot *shot = &shots[shot_count];
    memcpy(&shot->request_length, at, 4);
    shot->request = at + 4;
    at += 4 + shot->request_length;
    memcpy(&shot->answer_length, at, 4);
    shot->answer = at + 4;
    at += 4 + shot->answer_length;
  }
}

int main(int count, char **given) {
  if (count != 6) { fputs("flood PORT RATE SECONDS AT_ONCE TIMEOUT_S <SHOTS >RECORDS\n", stderr); return 2; }
  rate = atof(given[2]);
  long total = (long)(rate * atof(given[3]));
  at_once = atol(given[4]);
  double timeout_s = atof(given[5]), swept = 0;
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  struct sched_param first = {.sched_priority = 1};
  if (sched_setscheduler(0, SCHED_RR, &first) < 0 && nice(-10) == -1) errno = 0; /* only if it may */
  address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(given[1]))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* this machine, never another one */
  read_shots();
  if (shot_count == 0 || total < 1) { fputs("nothing to send\n", stderr); return 2; }
  records = calloc((size_t)total, sizeof *records);
  connections = calloc((size_t)at_once, sizeof *connections);
  poller = epoll_create1(0);
  if (records == NULL || connections == NULL || poller < 0) die("flood");
  struct epoll_event events[512];
  began = now();
  for (long left = 0; answered < total;) {
    double at = now() - began;
    while (left < total && (double)left / rate <= at) fire(left++, timeout_s);
    int ready = epoll_wait(poller, events, 512, 1); /* so a request leaves at most about 1 ms late */
    for (int i = 0; i < ready; i++) {
      struct connection *c = events[i].data.ptr;
      if (c->fd < 0) continue;
      if (!c->connected && (events[i].events & EPOLLOUT)) c->connected = 1;
      if (c->connected && c->request >= 0) write_more(c);
      if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) read_more(c);
    }
    if (at - swept < 0.1) continue;
    swept = at;
    for (long i = 0; i < used; i++) {
      struct connection *c = &connections[i];
      if (c->request >= 0 && at - (double)c->request / rate > timeout_s) { drop(c, NO_ANSWER); rest(c); }
    }
  }
  fwrite(records, sizeof *records, (size_t)total, stdout);
  return ferror(stdout) ? 1 : 0;
}
