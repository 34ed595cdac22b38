#include <sys/time.h>

#include <memory>

#include "values.h"

namespace dtls {

Session::~Session() {
  if (ssl != nullptr) {
    SSL_free(ssl);
    int64_t total;
    napi_adjust_external_memory(env, -kSessionBytes, &total);
  }
  if (context_ref != nullptr) napi_delete_reference(env, context_ref);
}

namespace {

enum State { kHandshaking = 0, kOpen = 1, kClosed = 2, kFailed = 3 };

// Puts what is to be sent at the end of a JavaScript array.
void TakeOut(napi_env env, Session* session, napi_value into) {
  if (session->out.empty()) return;
  uint32_t at = 0;
  napi_get_array_length(env, into, &at);
  for (const std::string& datagram : session->out)
    napi_set_element(env, into, at++, NewBuffer(env, datagram.data(), datagram.size()));
  session->out.clear();
}

bool WantsMore(const SSL* ssl, int result) {
  int error = SSL_get_error(ssl, result);
  return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

State Shake(SSL* ssl) {
  if (SSL_is_init_finished(ssl)) return kOpen;
  int result = SSL_do_handshake(ssl);
  if (result == 1) return kOpen;
  return WantsMore(ssl, result) ? kHandshaking : kFailed;
}

// Every record of the datagram: the first ones may end the handshake and the next ones bring data.
State ReadAll(napi_env env, SSL* ssl, napi_value data) {
  unsigned char buffer[kMaxRecordBytes];
  for (uint32_t count = 0;;) {
    int length = SSL_read(ssl, buffer, sizeof buffer);
    if (length > 0) {
      napi_set_element(env, data, count++, NewBuffer(env, buffer, static_cast<size_t>(length)));
      continue;
    }
    if (SSL_get_error(ssl, length) == SSL_ERROR_ZERO_RETURN) return kClosed;
    return WantsMore(ssl, length) ? kOpen : kFailed;
  }
}

}  // namespace

napi_value CreateSession(napi_env env, napi_callback_info info) {
  Arguments<2> args(env, info);
  Context* context = ContextFrom(env, args.value[0]);
  if (context == nullptr) return nullptr;
  auto session = std::make_unique<Session>();
  session->context = context;
  session->env = env;
  session->peer = BytesOf(env, args.value[1]);
  napi_create_reference(env, args.value[0], 1, &session->context_ref);
  session->ssl = SSL_new(context->ssl_ctx);
  BIO* bio = NewDatagramBio(session.get());
  if (session->ssl == nullptr || bio == nullptr) {
    Fail(env, "OpenSSL");
    return nullptr;
  }
  int64_t total;
  napi_adjust_external_memory(env, kSessionBytes, &total);
  SSL_set_app_data(session->ssl, session.get());
  SSL_set_bio(session->ssl, bio, bio);
  SSL_set_mtu(session->ssl, context->mtu);
  if (context->server)
    SSL_set_accept_state(session->ssl);
  else
    SSL_set_connect_state(session->ssl);
  napi_value handle;
  napi_create_object(env, &handle);
  napi_type_tag_object(env, handle, &kSessionTag);
  auto release = [](napi_env, void* pointer, void*) { delete static_cast<Session*>(pointer); };
  if (napi_wrap(env, handle, session.get(), release, nullptr, nullptr) == napi_ok) session.release();
  return handle;
}

// Frees at once what would else wait for the garbage collector.
napi_value Destroy(napi_env env, napi_callback_info info) {
  Arguments<1> args(env, info);
  void* pointer;
  if (SessionFrom(env, args.value[0]) != nullptr && napi_remove_wrap(env, args.value[0], &pointer) == napi_ok)
    delete static_cast<Session*>(pointer);
  return nullptr;
}

napi_value Listen(napi_env env, napi_callback_info info) {
  Arguments<4> args(env, info);
  Session* session = SessionFrom(env, args.value[0]);
  if (session == nullptr || !View(env, args.value[1], &session->in, &session->in_length)) return nullptr;
  session->peer = BytesOf(env, args.value[3]);
  ERR_clear_error();
  BIO_ADDR* unused = BIO_ADDR_new();
  int result = DTLSv1_listen(session->ssl, unused);
  BIO_ADDR_free(unused);
  ERR_clear_error();
  session->in = nullptr;
  TakeOut(env, session, args.value[2]);
  return NewInt(env, result == 1 ? 1 : 0);
}

napi_value Feed(napi_env env, napi_callback_info info) {
  Arguments<4> args(env, info);
  Session* session = SessionFrom(env, args.value[0]);
  if (session == nullptr) return nullptr;
  napi_valuetype type;
  napi_typeof(env, args.value[1], &type);
  if (type == napi_object && !View(env, args.value[1], &session->in, &session->in_length)) return nullptr;
  ERR_clear_error();
  SSL_alloc_buffers(session->ssl);  // they may have been freed, and a write needs them in place
  State state = Shake(session->ssl);
  if (state == kOpen) state = ReadAll(env, session->ssl, args.value[3]);
  session->in = nullptr;
  if (state == kOpen) SSL_free_buffers(session->ssl);  // 33 KiB less for every idle session
  TakeOut(env, session, args.value[2]);
  return NewInt(env, state);
}

napi_value Write(napi_env env, napi_callback_info info) {
  Arguments<3> args(env, info);
  Session* session = SessionFrom(env, args.value[0]);
  const unsigned char* bytes;
  size_t length;
  if (session == nullptr || !View(env, args.value[1], &bytes, &length)) return nullptr;
  if (length == 0 || length > kMaxRecordBytes || !SSL_is_init_finished(session->ssl)) return NewInt(env, -1);
  ERR_clear_error();
  SSL_alloc_buffers(session->ssl);
  int result = SSL_write(session->ssl, bytes, static_cast<int>(length));
  SSL_free_buffers(session->ssl);
  ERR_clear_error();
  TakeOut(env, session, args.value[2]);
  return NewInt(env, result);
}

napi_value Shutdown(napi_env env, napi_callback_info info) {
  Arguments<2> args(env, info);
  Session* session = SessionFrom(env, args.value[0]);
  if (session == nullptr) return nullptr;
  if (SSL_is_init_finished(session->ssl)) {
    SSL_alloc_buffers(session->ssl);
    SSL_shutdown(session->ssl);
  }
  ERR_clear_error();
  TakeOut(env, session, args.value[1]);
  return nullptr;
}

napi_value Timeout(napi_env env, napi_callback_info info) {
  Arguments<1> args(env, info);
  Session* session = SessionFrom(env, args.value[0]);
  if (session == nullptr) return nullptr;
  timeval left{0, 0};
  bool is_running = DTLSv1_get_timeout(session->ssl, &left) == 1;
  napi_value value;
  napi_create_double(env, is_running ? left.tv_sec * 1e3 + left.tv_usec / 1e3 : -1, &value);
  return value;
}

napi_value Retransmit(napi_env env, napi_callback_info info) {
  Arguments<2> args(env, info);
  Session* session = SessionFrom(env, args.value[0]);
  if (session == nullptr) return nullptr;
  ERR_clear_error();
  int result = DTLSv1_handle_timeout(session->ssl);
  ERR_clear_error();
  TakeOut(env, session, args.value[1]);
  return NewInt(env, result);
}

}  // namespace dtls
