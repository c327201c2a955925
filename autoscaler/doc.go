// Package autoscaler is a plugin of HashiCorp's nomad-autoscaler: it has pools of stream nodes
// follow the people, and not what is allocated. Two processes of one program serve it:
//
//	apm      asks the brains of the site (wire.DemandPath), found in Consul, by mutual TLS
//	strategy gives the number of nodes, by internal/sizing
//
// A policy names both:
//
//	check "people" {
//	  source = "seats"
//	  query  = "stream-cpu,all" # the node pools that the apps' jobs name
//	  strategy "seats" {
//	    node_class     = "stream-cpu" # of the target: nodes that it drains count beside those that people need
//	    seats_per_node = "8"
//	    ready          = "4m"
//	    wait           = "1%"
//	    schedule       = "30 16 * * 1-5 6h30m 120 Europe/Berlin"
//	  }
//	}
//
// With the strategy's own consul in its config it tells brains when a pool needs fewer nodes (wire.SparePath), and whether
// it may get some (wire.GrowthPath).
//
// Any other strategy of nomad-autoscaler gets one number, of now, by a query FIGURE/POOLS or
// FIGURE/POOLS/APP, such as "idle/stream-cpu,all". The figures are busy, idle, starting, queued, blocked
// and warm (people or seats), arrivals (a second, in the last ten minutes) and length (mean seconds of a session).
//
// Nothing is kept but what the last minutes needed, so each process may be killed at any moment:
// the autoscaler then ends, and Nomad starts it and both plugins again (plugins/nomad-autoscaler-seats).
// While no brain that knows its site answers, the query fails, and the autoscaler changes nothing.
package autoscaler
