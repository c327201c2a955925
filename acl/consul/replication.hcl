# The servers of the other sites copy ACLs from the primary site.
acl      = "write"
operator = "write"
service_prefix "" {
  policy     = "read"
  intentions = "read"
}
