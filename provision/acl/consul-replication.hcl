# Servers of the other sites copy ACLs from the primary one.
acl = "write"
operator = "write"
service_prefix "" {
  policy     = "read"
  intentions = "read"
}
