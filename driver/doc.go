// Package driver is Nearcast's Nomad task driver, "stream".
//
// A task of this driver is a seat: one running copy of a graphical app, which is
// streamed to one person. For each task the driver takes two users, writes a spec and
// starts a keeper, which makes the seat's cell and starts the stream host. From then on
// the driver only reports to Nomad and passes orders on:
//
//	Nomad agent ⇄ driver (plugin process)   gRPC
//	                │ writes RUN_DIR/spec.json, starts "seat-keeper --spec …"
//	                ⇄ RUN_DIR/control.sock  status, events, stop, signal, of the stream host
//	                ◀ RUN_DIR/exit.json     how the seat ended, from the keeper
//
// These messages are in internal/wire/streamhost.go. A job:
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
// # Guarantees
//
// A seat survives the plugin and the agent. Nomad kills and restarts plugin
// processes at any moment, so the driver holds nothing that a session needs, and
// the keeper has its own Unix session. RecoverTask finds a seat again by its
// run directory.
//
// A seat never outlives its task. The stream host, the cell and all in it end with the
// keeper, and the keeper with the stream host. All of them carry NEARCAST_NONCE in their
// environment. By this mark, and by the task's cgroup, the driver finds and kills what
// is left of a seat: when the keeper ends, and before the same task starts again.
//
// A task ends with exit code 0 where a person, a limit or an operator ended it.
// It ends with the app's exit code, or 1, where something failed. The reason is
// a task event, and the exit message of a failed task.
package driver
