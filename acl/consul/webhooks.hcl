# An operator who registers and revokes webhooks, and reads how their deliveries go: nearcast webhook.
# They see the secrets that sign events.
key_prefix "nearcast/webhooks/" {
  policy = "write"
}
key_prefix "nearcast/webhook-states/" {
  policy = "read"
}
