# An operator who registers and revokes the keys of launch tokens: nearcast key.
key_prefix "nearcast/launch-keys/" {
  policy = "write"
}
