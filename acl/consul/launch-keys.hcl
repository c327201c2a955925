# An operator who registers and revokes the keys of launch tokens, and API keys: nearcast key, nearcast apikey.
key_prefix "nearcast/api-keys/" {
  policy = "write"
}
key_prefix "nearcast/launch-keys/" {
  policy = "write"
}
