// Package driver is Nearcast's Nomad task driver, "stream".
//
// A task of this driver is a seat: one copy of a graphical app, ready to be
// streamed to one person. The driver itself streams nothing and holds nothing
// that a session needs: Nomad kills and restarts plugin processes as it likes.
// It starts one stream host a task, in a session of its own, tells it what to
// do in a file, and from then on only listens:
//
//	Nomad agent ⇄ driver (plugin process)   gRPC
//	                │ writes RUN_DIR/spec.json, starts "stream-host --spec …"
//	                ⇄ RUN_DIR/control.sock  status, events, stop, signal
//	                ◀ RUN_DIR/exit.json     the stream host's last word
//
// What passes between the two is in internal/wire/host.go. A job reads like this:
//
//	task "seat" {
//	  driver = "stream"
//	  config {
//	    command = "f3d"
//	    args    = ["local/model.glb"]
//	    content {
//	      source      = "s3://nearcast-content/models/sample.glb"
//	      destination = "local/model.glb"
//	    }
//	    display {
//	      width  = 1280
//	      height = 720
//	      fps    = 30
//	    }
//	  }
//	}
//
// # Promises
//
// A seat outlives the plugin and the agent: both may be killed at any moment,
// and come back to the same seat by RecoverTask. A seat never outlives its
// task: the stream host and all processes of the app carry NEARCAST_NONCE in their
// environment, and what remains of a seat (in its cgroup, or by that mark) is
// killed when the stream host ends, and again before the same task is started
// anew. The seat's display and sound servers die with the stream host by
// themselves.
//
// A task ends with exit code 0 where a person, a limit or an operator ended it,
// and with the app's code, or 1, where something failed; the reason in words is
// the task's exit message and a task event.
//
// # Where things are
//
//	about.go        every declaration: plugin info, capabilities, both config schemas
//	pluginconfig.go what the agent's operator set, checked
//	taskconfig.go   what the job's author set, checked
//	spec.go         both, and the task, as the stream host's spec
//	driver.go       the driver's methods
//	handle.go       one running task
//	control.go      the client of control.sock
//	launch.go       starting a stream host
//	leftovers.go    ending what is left of one
//	events.go       task events on their way to Nomad
//	exec.go         "nomad alloc exec"
//	stats.go process.go cgroup.go   what a seat uses, and which processes it has
//	fingerprint.go  what this machine can do
package driver
