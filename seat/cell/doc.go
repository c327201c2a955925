// Package cell is where the programs of one seat run: its display server, its sound server
// and its app, as one user that no other live seat has, in namespaces of their own. What is
// in a cell is hostile to what is outside, and gains nothing there.
//
// Four processes of our own are around them:
//
//	seat-keeper        root, outside: makes the cell, starts the others (cell/keeper)
//	└─ stream-host     a user of its own, outside: talks to people, brains and the cell
//	└─ seat-keeper init run    the seat's user, inside: starts programs (cell/cellinit)
//	   └─ Xvfb, pulseaudio, app
//
// The stream host has two connections (Conn). Over one it makes requests to its keeper
// (Keeper), over the other it gives orders to the cell's first process (Client):
//
//	keeper := cell.NewKeeper(conn)
//	c, made, stdout, stderr, gamepads, err := keeper.Cell(ctx)
//	…
//	x, err := c.Start(ctx, cell.Program{Name: "display", Path: "/usr/bin/Xvfb", …})
//	conn, err := c.Dial("/tmp/.X11-unix/X0") // before the app runs
//	…
//	app, err := c.Start(ctx, cell.Program{Name: cell.App, Path: "f3d", …})
//
// Once the app runs, the first process opens no path and starts no program any more: the
// app could have changed what is there. So everything is connected before, and goes by
// descriptors.
//
// The other packages below this one are the parts of a cell: cellroot its file system,
// privilege, landlock and seccomp what its processes cannot do, internet its way out, enter
// the way in for an operator's command. docs/SECURITY.md says what each defends.
//
// Without root there is no cell. The same processes then run as the agent's user.
package cell
