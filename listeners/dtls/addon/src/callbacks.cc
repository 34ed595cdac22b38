#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstring>

#include "dtls.h"

namespace dtls {

Session* SessionOf(const SSL* ssl) { return static_cast<Session*>(SSL_get_app_data(ssl)); }

// RFC 6347 4.2.1: the cookie is bound to the address, so nothing has to be remembered for it.
int MakeCookie(SSL* ssl, unsigned char* cookie, unsigned int* length) {
  Session* session = SessionOf(ssl);
  return HMAC(EVP_sha256(), session->context->secret, static_cast<int>(kSecretBytes),
              reinterpret_cast<const unsigned char*>(session->peer.data()), session->peer.size(), cookie,
              length) != nullptr;
}

int CheckCookie(SSL* ssl, const unsigned char* cookie, unsigned int length) {
  unsigned char expected[EVP_MAX_MD_SIZE];
  unsigned int expected_length = 0;
  return MakeCookie(ssl, expected, &expected_length) && expected_length == length &&
         CRYPTO_memcmp(expected, cookie, expected_length) == 0;
}

// Asks JavaScript. 0 = unknown_psk_identity. A look-up that throws knows nobody.
unsigned int FindServerPsk(SSL* ssl, const char* identity, unsigned char* psk, unsigned int max) {
  Context* context = SessionOf(ssl)->context;
  napi_env env = context->env;
  napi_handle_scope scope;
  if (identity == nullptr || context->psk_lookup == nullptr ||
      napi_open_handle_scope(env, &scope) != napi_ok)
    return 0;
  unsigned int found = 0;
  napi_value lookup, text, receiver, key;
  bool is_buffer = false;
  napi_get_undefined(env, &receiver);
  if (napi_get_reference_value(env, context->psk_lookup, &lookup) == napi_ok &&
      napi_create_string_utf8(env, identity, NAPI_AUTO_LENGTH, &text) == napi_ok) {
    if (napi_call_function(env, receiver, lookup, 1, &text, &key) != napi_ok) {
      napi_value thrown;
      napi_get_and_clear_last_exception(env, &thrown);
    } else if (napi_is_buffer(env, key, &is_buffer) == napi_ok && is_buffer) {
      void* bytes;
      size_t length;
      if (napi_get_buffer_info(env, key, &bytes, &length) == napi_ok && length > 0 && length <= max) {
        memcpy(psk, bytes, length);
        found = static_cast<unsigned int>(length);
      }
    }
  }
  napi_close_handle_scope(env, scope);
  return found;
}

unsigned int GiveClientPsk(SSL* ssl, const char*, char* identity, unsigned int max_identity,
                           unsigned char* psk, unsigned int max) {
  Context* context = SessionOf(ssl)->context;
  if (context->identity.size() + 1 > max_identity || context->key.size() > max) return 0;
  memcpy(identity, context->identity.c_str(), context->identity.size() + 1);
  memcpy(psk, context->key.data(), context->key.size());
  return static_cast<unsigned int>(context->key.size());
}

}  // namespace dtls
