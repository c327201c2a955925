// Package dev runs a whole site on one machine: Consul, Nomad with the stream
// driver, an S3 server, a router and a brain, all on 127.0.0.1, with sample
// content and sample apps.
//
//	cluster, err := dev.Start(ctx, dev.Options{Dir: dir, Bin: "bin"})
//	if err != nil { … }
//	defer cluster.Close()
//	fmt.Println(cluster.URL) // http://127.0.0.1:7700
//
// Everything the cluster writes lies in one folder. Everything it starts is a
// child that is restarted when it dies and ends when its parent dies, even by
// kill -9. Seats outlive the Nomad agent by design; they are found again by the
// mark that every process of the cluster carries in its environment, by Down or
// by the next Start.
//
// Files by concept:
//
//	cluster.go   the order of things: start, run, stop
//	process.go   one supervised child
//	sweep.go     find and end what a killed cluster left
//	state.go     what is on disk for "dev status" and "dev down"
//	tools.go     servers from PATH, the cache, or built from their pins
//	packages.go  the Debian packages all of this needs, each with its reason
//	consul.go nomad.go s3.go services.go   one server's configuration each
//	samples.go   sample content and sample apps
package dev
