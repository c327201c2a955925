// Package dev runs a whole site on one machine: Consul, Nomad with the stream
// driver, an S3 server, a router and a brain, all on 127.0.0.1, with sample
// content and sample apps.
//
//	cluster, err := dev.Start(ctx, dev.Options{Dir: dir, Bin: "bin"})
//	if err != nil { … }
//	defer cluster.Close()
//	fmt.Println(cluster.URL) // http://127.0.0.1:7700
//
// Or a planet: several such sites, each in a network namespace with an address
// of its own, joined by a WAN with the delays of the real one, and a person in
// a namespace of hers; see StartPlanet. One site needs no root, a planet does.
//
// It is made as production is: Consul and Nomad read what the templates of
// package provision give, and router and brain are the jobs of jobs/platform. The
// differences are values: one machine, no TLS, no ACLs.
//
// Everything the cluster writes lies in one folder, a planet's sites in folders
// of their own below sites/. Consul, Nomad and the object store are children,
// restarted when they die, and ended when their parent dies, even by kill -9.
// What Nomad runs (router, brain, seats) outlives its agent by design; it is found
// again by the mark that every process of the cluster carries in its
// environment, by Down or by the next Start. A planet's namespaces are mounted on files below netns/, where both
// find them too; its WAN dies with the process that runs it.
//
// Files by concept:
//
//	cluster.go   the order of things: start, run
//	down.go      stop, from inside and from outside
//	report.go    what a part of the cluster says of itself
//	process.go   a part that is a supervised child
//	task.go      a part that Nomad keeps running
//	sweep.go     find and end what a killed cluster left
//	state.go     what is on disk for "dev status" and "dev down"
//	folder.go    where in the folder things are
//	tools.go     servers from PATH, the cache, or built from their pins
//	packages.go  the Debian packages all of this needs, each with its reason
//	config.go    Consul's and Nomad's configuration
//	consul.go nomad.go s3.go platform.go   the parts, each with how to tell that it serves
//	samples.go   sample content and sample apps
//
// and of a planet:
//
//	planet.go    sites and a person on a WAN: start, run, stop
//	places.go    where on Earth they are, and how far from each other
//	person.go    move her, cut sites off, the table of round trips
//	control.go   the same from other processes
//	exec.go      a command inside a namespace
//	displays.go  what keeps the X servers of different sites apart
//	netns/ wan/  network namespaces, and the network between them
package dev
