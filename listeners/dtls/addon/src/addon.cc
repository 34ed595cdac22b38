#include "dtls.h"

namespace dtls {
namespace {

napi_value Init(napi_env env, napi_value exports) {
  const struct {
    const char* name;
    napi_callback call;
  } functions[] = {
      {"createContext", CreateContext},
      {"createSession", CreateSession},
      {"destroy", Destroy},
      {"listen", Listen},
      {"feed", Feed},
      {"write", Write},
      {"shutdown", Shutdown},
      {"timeout", Timeout},
      {"retransmit", Retransmit},
      {"info", Info},
      {"error", Error},
  };
  for (const auto& [name, call] : functions) {
    napi_value function;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, call, nullptr, &function);
    napi_set_named_property(env, exports, name, function);
  }
  napi_value version;
  napi_create_string_utf8(env, OpenSSL_version(OPENSSL_VERSION), NAPI_AUTO_LENGTH, &version);
  napi_set_named_property(env, exports, "opensslVersion", version);
  return exports;
}

}  // namespace
}  // namespace dtls

NAPI_MODULE(NODE_GYP_MODULE_NAME, dtls::Init)
