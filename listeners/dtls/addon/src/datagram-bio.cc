// A BIO that reads the one datagram at hand and gathers the datagrams that are written.
#include <cstring>

#include "dtls.h"

namespace dtls {
namespace {

Session* SessionOfBio(BIO* bio) { return static_cast<Session*>(BIO_get_data(bio)); }

int Read(BIO* bio, char* buffer, int size) {
  Session* session = SessionOfBio(bio);
  BIO_clear_retry_flags(bio);
  if (session->in == nullptr) {
    BIO_set_retry_read(bio);
    return -1;
  }
  int length = session->in_length < static_cast<size_t>(size) ? static_cast<int>(session->in_length) : size;
  if (length > 0) memcpy(buffer, session->in, static_cast<size_t>(length));
  session->in = nullptr;  // like a socket: what does not fit is lost
  return length;
}

int Write(BIO* bio, const char* bytes, int length) {
  BIO_clear_retry_flags(bio);
  SessionOfBio(bio)->out.emplace_back(bytes, static_cast<size_t>(length));
  return length;
}

long Control(BIO* bio, int command, long, void*) {
  switch (command) {
    case BIO_CTRL_FLUSH:
      return 1;
    case BIO_CTRL_DGRAM_QUERY_MTU:
    case BIO_CTRL_DGRAM_GET_FALLBACK_MTU:
    case BIO_CTRL_DGRAM_GET_MTU:
      return SessionOfBio(bio)->context->mtu;
    case BIO_CTRL_DGRAM_GET_MTU_OVERHEAD:
      return 0;  // our MTU is without headers
    default:
      return 0;
  }
}

BIO_METHOD* Method() {
  static BIO_METHOD* method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "datagram");
    BIO_meth_set_read(made, Read);
    BIO_meth_set_write(made, Write);
    BIO_meth_set_ctrl(made, Control);
    BIO_meth_set_create(made, [](BIO* bio) {
      BIO_set_init(bio, 1);
      return 1;
    });
    return made;
  }();
  return method;
}

}  // namespace

BIO* NewDatagramBio(Session* session) {
  BIO* bio = BIO_new(Method());
  if (bio != nullptr) BIO_set_data(bio, session);
  return bio;
}

}  // namespace dtls
