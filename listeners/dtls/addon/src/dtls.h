// DTLS 1.2 sessions on the OpenSSL of the running node. There are no sockets here: datagrams go in
// and datagrams come out. One Session is one SSL object on a BIO that keeps the bounds of datagrams.
// All calls happen on the JavaScript thread that made the object, and nothing blocks.
#pragma once

#include <node_api.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <cstddef>
#include <string>
#include <vector>

namespace dtls {

constexpr size_t kSecretBytes = 32;
// What a session costs outside of V8's heap: told to V8, which would else collect too late.
constexpr int64_t kSessionBytes = 40 * 1024;
// Largest plaintext of one record, with room for what OpenSSL may add.
constexpr size_t kMaxRecordBytes = 16 * 1024 + 256;

// What many sessions share: certificates, keys, ciphers.
struct Context {
  napi_env env = nullptr;
  SSL_CTX* ssl_ctx = nullptr;
  napi_ref psk_lookup = nullptr;  // server: (identity: string) => Buffer | undefined
  bool server = true;
  int mtu = 1200;  // largest datagram of a handshake, without UDP and IP headers
  std::string identity, key;  // client: its own
  unsigned char secret[kSecretBytes];  // of the cookies
  ~Context();
};

struct Session {
  Context* context = nullptr;
  napi_ref context_ref = nullptr;  // the context lives as long as its sessions
  napi_env env = nullptr;
  SSL* ssl = nullptr;
  const unsigned char* in = nullptr;  // the datagram being fed, not owned
  size_t in_length = 0;
  std::vector<std::string> out;  // one string per datagram to be sent
  std::string peer;  // its address, which the cookie proves
  ~Session();
};

extern const napi_type_tag kContextTag;
extern const napi_type_tag kSessionTag;

// datagram-bio.cc
BIO* NewDatagramBio(Session* session);

// callbacks.cc: what OpenSSL asks during a handshake
Session* SessionOf(const SSL* ssl);
int MakeCookie(SSL* ssl, unsigned char* cookie, unsigned int* length);
int CheckCookie(SSL* ssl, const unsigned char* cookie, unsigned int length);
unsigned int FindServerPsk(SSL* ssl, const char* identity, unsigned char* psk, unsigned int max);
unsigned int GiveClientPsk(SSL* ssl, const char* hint, char* identity, unsigned int max_identity,
                           unsigned char* psk, unsigned int max);

// context.cc, session.cc, info.cc: what JavaScript calls, see ../../native.ts
napi_value CreateContext(napi_env env, napi_callback_info info);
napi_value CreateSession(napi_env env, napi_callback_info info);
napi_value Listen(napi_env env, napi_callback_info info);
napi_value Feed(napi_env env, napi_callback_info info);
napi_value Write(napi_env env, napi_callback_info info);
napi_value Shutdown(napi_env env, napi_callback_info info);
napi_value Timeout(napi_env env, napi_callback_info info);
napi_value Retransmit(napi_env env, napi_callback_info info);
napi_value Destroy(napi_env env, napi_callback_info info);
napi_value Info(napi_env env, napi_callback_info info);
napi_value Error(napi_env env, napi_callback_info info);

}  // namespace dtls
