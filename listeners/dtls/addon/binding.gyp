{
  # No library is linked: every SSL_*, BIO_* and X509_* symbol is found at load time in the node
  # executable, or in the libssl that a node of a distribution has loaded.
  "targets": [{
    "target_name": "dtls",
    "sources": [
      "src/addon.cc",
      "src/callbacks.cc",
      "src/context.cc",
      "src/datagram-bio.cc",
      "src/info.cc",
      "src/session.cc",
      "src/values.cc",
    ],
    "defines": ["NAPI_VERSION=8", "OPENSSL_API_COMPAT=0x10100000L"],
    "cflags!": ["-g"],
    "cflags_cc": ["-std=c++17", "-O2", "-Wall", "-Wextra", "-fno-exceptions", "-fvisibility=hidden", "-g0"],
    "xcode_settings": { "CLANG_CXX_LANGUAGE_STANDARD": "c++17" },
  }],
}
