// Package dev runs a whole site on one machine: Consul, Nomad with the stream
// driver, an S3 server, a router and a brain, with sample content and sample apps.
// Everything listens on 127.0.0.1.
//
//	cluster, err := dev.Start(ctx, dev.Options{Dir: dir, Bin: "bin"})
//	if err != nil { … }
//	defer cluster.Close()
//	fmt.Println(cluster.URL) // http://127.0.0.1:7700
//
// The site is made as in production: Consul and Nomad read the files that package
// provision renders, and router and brain are the jobs in jobs/platform. Only values
// differ: one machine, no TLS, no ACLs.
//
// The cluster writes into one folder only. Consul, Nomad and the object store are
// child processes. They are restarted when they exit, and the kernel kills them when
// their parent dies, even by kill -9. What Nomad runs (router, brain, seats) outlives
// its agent by design. Each process of the cluster therefore carries a mark in its
// environment, by which Down and the next Start find and end it.
//
// Package dev/planet runs several sites and joins them with a WAN: it calls StartAt
// with a Location for each. Package dev/setup finds the servers that a cluster needs.
package dev
