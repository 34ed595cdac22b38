#include "values.h"

namespace dtls {

const napi_type_tag kContextTag = {0x687562627562646c, 1};
const napi_type_tag kSessionTag = {0x687562627562646c, 2};

void Fail(napi_env env, const char* what) {
  std::string text = what;
  if (unsigned long code = ERR_peek_last_error()) {
    const char* reason = ERR_reason_error_string(code);
    if (reason != nullptr) text += std::string(": ") + reason;
  }
  ERR_clear_error();
  napi_throw_error(env, "ERR_DTLS", text.c_str());
}

bool Get(napi_env env, napi_value object, const char* name, napi_value* value) {
  napi_valuetype type;
  return napi_get_named_property(env, object, name, value) == napi_ok &&
         napi_typeof(env, *value, &type) == napi_ok && type != napi_undefined && type != napi_null;
}

bool GetBool(napi_env env, napi_value object, const char* name, bool fallback) {
  napi_value value;
  bool result = fallback;
  if (Get(env, object, name, &value)) napi_get_value_bool(env, value, &result);
  return result;
}

int32_t GetInt(napi_env env, napi_value object, const char* name, int32_t fallback) {
  napi_value value;
  int32_t result = fallback;
  if (Get(env, object, name, &value)) napi_get_value_int32(env, value, &result);
  return result;
}

std::string BytesOf(napi_env env, napi_value value) {
  bool is_buffer = false;
  if (napi_is_buffer(env, value, &is_buffer) == napi_ok && is_buffer) {
    void* bytes;
    size_t length;
    if (napi_get_buffer_info(env, value, &bytes, &length) != napi_ok || length == 0) return {};
    return std::string(static_cast<char*>(bytes), length);
  }
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return {};
  std::string text(length, '\0');
  napi_get_value_string_utf8(env, value, &text[0], length + 1, &length);
  return text;
}

std::string GetBytes(napi_env env, napi_value object, const char* name) {
  napi_value value;
  return Get(env, object, name, &value) ? BytesOf(env, value) : std::string();
}

bool View(napi_env env, napi_value value, const unsigned char** bytes, size_t* length) {
  bool is_buffer = false;
  void* data = nullptr;
  if (napi_is_buffer(env, value, &is_buffer) != napi_ok || !is_buffer ||
      napi_get_buffer_info(env, value, &data, length) != napi_ok) {
    napi_throw_type_error(env, "ERR_DTLS", "expected a Buffer");
    return false;
  }
  *bytes = static_cast<const unsigned char*>(data);
  return true;
}

void SetNumber(napi_env env, napi_value object, const char* name, double value) {
  napi_value number;
  napi_create_double(env, value, &number);
  napi_set_named_property(env, object, name, number);
}

void SetText(napi_env env, napi_value object, const char* name, const char* value) {
  if (value == nullptr) return;
  napi_value text;
  if (napi_create_string_utf8(env, value, NAPI_AUTO_LENGTH, &text) == napi_ok)
    napi_set_named_property(env, object, name, text);
}

napi_value NewBuffer(napi_env env, const void* bytes, size_t length) {
  napi_value value = nullptr;
  napi_create_buffer_copy(env, length, bytes, nullptr, &value);
  return value;
}

napi_value NewInt(napi_env env, int32_t value) {
  napi_value number;
  napi_create_int32(env, value, &number);
  return number;
}

namespace {

void* Unwrap(napi_env env, napi_value handle, const napi_type_tag& tag) {
  bool matches = false;
  void* pointer = nullptr;
  if (napi_check_object_type_tag(env, handle, &tag, &matches) == napi_ok && matches &&
      napi_unwrap(env, handle, &pointer) == napi_ok)
    return pointer;
  napi_throw_type_error(env, "ERR_DTLS", "a wrong or destroyed DTLS handle");
  return nullptr;
}

}  // namespace

Session* SessionFrom(napi_env env, napi_value handle) {
  return static_cast<Session*>(Unwrap(env, handle, kSessionTag));
}

Context* ContextFrom(napi_env env, napi_value handle) {
  return static_cast<Context*>(Unwrap(env, handle, kContextTag));
}

}  // namespace dtls
