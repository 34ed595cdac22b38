#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <cstring>
#include <memory>

#include "values.h"

namespace dtls {

Context::~Context() {
  if (ssl_ctx != nullptr) SSL_CTX_free(ssl_ctx);
  if (psk_lookup != nullptr) napi_delete_reference(env, psk_lookup);
}

namespace {

// Without a callback OpenSSL would ask at the terminal, and wait there.
int GivePassword(char* buffer, int size, int, void* data) {
  const std::string* password = static_cast<const std::string*>(data);
  if (password->empty() || password->size() > static_cast<size_t>(size)) return -1;
  memcpy(buffer, password->data(), password->size());
  return static_cast<int>(password->size());
}

struct FreeBio {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using Pem = std::unique_ptr<BIO, FreeBio>;

Pem OpenPem(const std::string& text) {
  return Pem(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// The certificate and the intermediates that follow it.
bool UseCertificate(SSL_CTX* ctx, const std::string& text) {
  Pem pem = OpenPem(text);
  X509* leaf = PEM_read_bio_X509_AUX(pem.get(), nullptr, nullptr, nullptr);
  bool ok = leaf != nullptr && SSL_CTX_use_certificate(ctx, leaf) == 1;
  X509_free(leaf);
  while (ok) {
    X509* intermediate = PEM_read_bio_X509(pem.get(), nullptr, nullptr, nullptr);
    if (intermediate == nullptr) break;
    if (SSL_CTX_add0_chain_cert(ctx, intermediate) != 1) {
      X509_free(intermediate);
      ok = false;
    }
  }
  if (ok) ERR_clear_error();
  return ok;
}

bool UseKey(SSL_CTX* ctx, const std::string& text, std::string password) {
  Pem pem = OpenPem(text);
  EVP_PKEY* key = PEM_read_bio_PrivateKey(pem.get(), nullptr, GivePassword, &password);
  bool ok = key != nullptr && SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1;
  EVP_PKEY_free(key);
  return ok;
}

bool UseAuthorities(SSL_CTX* ctx, const std::string& text, bool is_partial_chain) {
  Pem pem = OpenPem(text);
  X509_STORE* store = SSL_CTX_get_cert_store(ctx);
  int count = 0;
  while (X509* authority = PEM_read_bio_X509(pem.get(), nullptr, nullptr, nullptr)) {
    X509_STORE_add_cert(store, authority);
    SSL_CTX_add_client_CA(ctx, authority);
    X509_free(authority);
    count++;
  }
  ERR_clear_error();
  if (is_partial_chain) X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
  return count > 0;
}

bool UseDhParameters(SSL_CTX* ctx, const std::string& text) {
  Pem pem = OpenPem(text);
  EVP_PKEY* parameters = PEM_read_bio_Parameters(pem.get(), nullptr);
  if (parameters != nullptr && SSL_CTX_set0_tmp_dh_pkey(ctx, parameters) == 1) return true;
  EVP_PKEY_free(parameters);
  return false;
}

// Tickets and the cache by session id each cost a full handshake less; both are off unless asked for.
void SetResumption(napi_env env, napi_value options, SSL_CTX* ctx) {
  int32_t cached = GetInt(env, options, "sessionCache", 0);
  SSL_CTX_set_session_cache_mode(ctx, cached > 0 ? SSL_SESS_CACHE_SERVER : SSL_SESS_CACHE_OFF);
  if (cached > 0) SSL_CTX_sess_set_cache_size(ctx, cached);
  SSL_CTX_set_timeout(ctx, GetInt(env, options, "sessionSeconds", 300));
  SSL_CTX_set_session_id_context(ctx, reinterpret_cast<const unsigned char*>("dtls"), 4);
  std::string keys = GetBytes(env, options, "ticketKeys");
  if (keys.empty() || SSL_CTX_set_tlsext_ticket_keys(ctx, &keys[0], static_cast<long>(keys.size())) != 1)
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
  ERR_clear_error();
}

void SetVerification(napi_env env, napi_value options, SSL_CTX* ctx) {
  std::string verify = GetBytes(env, options, "verify");
  int mode = SSL_VERIFY_NONE;
  if (verify == "request") mode = SSL_VERIFY_PEER;
  if (verify == "require") mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  SSL_CTX_set_verify(ctx, mode, nullptr);
  SSL_CTX_set_verify_depth(ctx, GetInt(env, options, "depth", 10));
}

// Names of options that are wrong, for the error text; null if all are well.
const char* SetCredentials(napi_env env, napi_value options, SSL_CTX* ctx) {
  std::string ciphers = GetBytes(env, options, "ciphers"), sigalgs = GetBytes(env, options, "sigalgs");
  std::string cert = GetBytes(env, options, "cert"), key = GetBytes(env, options, "key");
  std::string ca = GetBytes(env, options, "ca"), dh = GetBytes(env, options, "dhparam");
  if (!ciphers.empty() && SSL_CTX_set_cipher_list(ctx, ciphers.c_str()) != 1) return "ciphers";
  if (!sigalgs.empty() && SSL_CTX_set1_sigalgs_list(ctx, sigalgs.c_str()) != 1) return "sigalgs";
  if (!cert.empty() && !UseCertificate(ctx, cert)) return "cert";
  if (!key.empty() && !UseKey(ctx, key, GetBytes(env, options, "passphrase"))) return "key";
  if (!ca.empty() && !UseAuthorities(ctx, ca, GetBool(env, options, "partialChain", false))) return "ca";
  if (!dh.empty() && !UseDhParameters(ctx, dh)) return "dhparam";
  return nullptr;
}

void SetPsk(napi_env env, napi_value options, Context* context) {
  if (!context->server) {
    context->identity = GetBytes(env, options, "identity");
    context->key = GetBytes(env, options, "pskKey");
    if (!context->key.empty()) SSL_CTX_set_psk_client_callback(context->ssl_ctx, GiveClientPsk);
    return;
  }
  napi_value lookup;
  napi_valuetype type;
  if (!Get(env, options, "psk", &lookup) || napi_typeof(env, lookup, &type) != napi_ok ||
      type != napi_function)
    return;
  napi_create_reference(env, lookup, 1, &context->psk_lookup);
  SSL_CTX_set_psk_server_callback(context->ssl_ctx, FindServerPsk);
}

bool SetSecret(napi_env env, napi_value options, Context* context) {
  std::string secret = GetBytes(env, options, "cookieSecret");
  if (secret.size() != kSecretBytes) return RAND_bytes(context->secret, kSecretBytes) == 1;
  memcpy(context->secret, secret.data(), kSecretBytes);
  return true;
}

}  // namespace

napi_value CreateContext(napi_env env, napi_callback_info info) {
  Arguments<1> args(env, info);
  napi_value options = args.value[0];
  auto context = std::make_unique<Context>();
  context->env = env;
  context->server = GetBool(env, options, "server", true);
  context->mtu = GetInt(env, options, "mtu", context->mtu);
  SSL_CTX* ctx = SSL_CTX_new(context->server ? DTLS_server_method() : DTLS_client_method());
  context->ssl_ctx = ctx;
  if (ctx == nullptr || !SetSecret(env, options, context.get())) {
    Fail(env, "OpenSSL");
    return nullptr;
  }
  SSL_CTX_set_min_proto_version(ctx, GetInt(env, options, "minVersion", DTLS1_2_VERSION));
  SSL_CTX_set_max_proto_version(ctx, GetInt(env, options, "maxVersion", DTLS1_2_VERSION));
  SSL_CTX_set_options(ctx, SSL_OP_NO_QUERY_MTU | SSL_OP_NO_RENEGOTIATION);
  if (GetBool(env, options, "honorCipherOrder", true))
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_read_ahead(ctx, 1);
  if (const char* wrong = SetCredentials(env, options, ctx)) {
    Fail(env, wrong);
    return nullptr;
  }
  SetVerification(env, options, ctx);
  SetPsk(env, options, context.get());
  SetResumption(env, options, ctx);
  if (context->server) {
    SSL_CTX_set_cookie_generate_cb(ctx, MakeCookie);
    SSL_CTX_set_cookie_verify_cb(ctx, CheckCookie);
  }
  napi_value handle;
  napi_create_object(env, &handle);
  napi_type_tag_object(env, handle, &kContextTag);
  auto release = [](napi_env, void* pointer, void*) { delete static_cast<Context*>(pointer); };
  if (napi_wrap(env, handle, context.get(), release, nullptr, nullptr) == napi_ok) context.release();
  return handle;
}

}  // namespace dtls
