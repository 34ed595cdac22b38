#include <openssl/x509.h>

#include "values.h"

namespace dtls {
namespace {

void SetCertificates(napi_env env, Session* session, napi_value object) {
  X509* leaf = SSL_get1_peer_certificate(session->ssl);
  if (leaf == nullptr) return;
  napi_value list;
  napi_create_array(env, &list);
  uint32_t count = 0;
  auto add = [&](X509* certificate) {
    unsigned char* der = nullptr;
    int length = i2d_X509(certificate, &der);
    if (length > 0) napi_set_element(env, list, count++, NewBuffer(env, der, static_cast<size_t>(length)));
    OPENSSL_free(der);
  };
  add(leaf);
  X509_free(leaf);
  // A server's view of the chain lacks the leaf, a client's view begins with it.
  STACK_OF(X509)* chain = SSL_get_peer_cert_chain(session->ssl);
  for (int i = session->context->server ? 0 : 1; chain != nullptr && i < sk_X509_num(chain); i++)
    add(sk_X509_value(chain, i));
  napi_set_named_property(env, object, "peerCertificates", list);
}

}  // namespace

napi_value Info(napi_env env, napi_callback_info info) {
  Arguments<1> args(env, info);
  Session* session = SessionFrom(env, args.value[0]);
  if (session == nullptr) return nullptr;
  napi_value object;
  napi_create_object(env, &object);
  SetText(env, object, "protocol", SSL_get_version(session->ssl));
  SetText(env, object, "cipher", SSL_get_cipher_name(session->ssl));
  SetText(env, object, "pskIdentity", SSL_get_psk_identity(session->ssl));
  napi_value resumed;
  napi_get_boolean(env, SSL_session_reused(session->ssl) == 1, &resumed);
  napi_set_named_property(env, object, "resumed", resumed);
  SetCertificates(env, session, object);
  return object;
}

napi_value Error(napi_env env, napi_callback_info info) {
  Arguments<1> args(env, info);
  Session* session = SessionFrom(env, args.value[0]);
  if (session == nullptr) return nullptr;
  const char* reason = nullptr;
  if (unsigned long code = ERR_peek_last_error()) reason = ERR_reason_error_string(code);
  std::string text = reason == nullptr ? "the handshake failed" : reason;
  long verified = SSL_get_verify_result(session->ssl);
  if (verified != X509_V_OK) text += std::string(": ") + X509_verify_cert_error_string(verified);
  ERR_clear_error();
  napi_value value;
  napi_create_string_utf8(env, text.c_str(), text.size(), &value);
  return value;
}

}  // namespace dtls
