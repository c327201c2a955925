# What the routers of other sites read: no more than GET /v1/sites tells everybody.
service "nearcast-router" {
  policy = "read"
}
service "nearcast-brain" {
  policy = "read"
}
key_prefix "nearcast/apps/" {
  policy = "read"
}
key "nearcast/site" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
