// From JavaScript's values to C++ and back.
#pragma once

#include "dtls.h"

namespace dtls {

// Throws in JavaScript: `what`, and what OpenSSL says about it.
void Fail(napi_env env, const char* what);

// False if the property is undefined or null.
bool Get(napi_env env, napi_value object, const char* name, napi_value* value);
bool GetBool(napi_env env, napi_value object, const char* name, bool fallback);
int32_t GetInt(napi_env env, napi_value object, const char* name, int32_t fallback);
// Bytes of a Buffer, or UTF-8 of a string; empty if there is none.
std::string GetBytes(napi_env env, napi_value object, const char* name);
std::string BytesOf(napi_env env, napi_value value);
// The bytes of a Buffer where they are. False, with a throw in JavaScript, for anything else.
bool View(napi_env env, napi_value value, const unsigned char** bytes, size_t* length);

void SetNumber(napi_env env, napi_value object, const char* name, double value);
void SetText(napi_env env, napi_value object, const char* name, const char* value);
napi_value NewBuffer(napi_env env, const void* bytes, size_t length);
napi_value NewInt(napi_env env, int32_t value);

// The object behind a handle. Null, with a throw in JavaScript, for a wrong or destroyed one.
Session* SessionFrom(napi_env env, napi_value handle);
Context* ContextFrom(napi_env env, napi_value handle);

template <size_t N>
struct Arguments {
  napi_value value[N];
  size_t count = N;
  Arguments(napi_env env, napi_callback_info info) {
    napi_get_cb_info(env, info, &count, value, nullptr, nullptr);
  }
};

}  // namespace dtls
