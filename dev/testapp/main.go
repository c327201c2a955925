// Testapp is a small X11 application that tests and benchmarks stream.
//
// Its window has one colour, and changes between black and white at each key or button
// press: the next frame shows the press, so that the time between both can be measured.
// It prints each event that it gets as a JSON line on standard output:
//
//	{"type":"ready","width":1280,"height":720}
//	{"type":"key_press","keycode":38,"keysym":97,"text":"a","state":0}
//	{"type":"button_press","button":1,"x":640,"y":360,"state":0}
//	{"type":"focus_in"}
//
// Its flags make it misbehave in the ways that a seat must survive. With -attack it
// tries to get more than its own seat, as package attack says.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/dev/testapp/attack"
)

type options struct {
	width, height int
	color         string
	fps           int
	moving        bool
	show          string
	rest          time.Duration
	busy          int
	sound         bool
	noWindow      bool
	secondWindow  bool
	dialog        bool
	mouseLook     bool
	spawnChild    bool
	crash         bool
	exitAfter     time.Duration
	exitCode      int
	exitOnKey     string
	ignoreTerm    bool
	env           bool
	echo          bool
	script        string
	attacks       []string
	attackArgs    string
	bait          string
	baitTag       string
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("testapp", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), `testapp shows a window that flips between black and white at each key or button
press, and prints each event it gets as a JSON line.

Flags:
`)
		fs.PrintDefaults()
	}
	size := fs.String("size", "640x480", "size of the window before a window manager changes it, `WxH`")
	fs.StringVar(&o.color, "color", "black", "first colour of the window: black, white, or `#rrggbb`")
	fs.IntVar(&o.fps, "fps", 0, "draw a counter into the top left corner `N` times a second; 0 draws none")
	fs.BoolVar(&o.moving, "moving", false, "with -fps: move bars across the whole window instead of counting in a corner")
	fs.StringVar(&o.show, "show", "", "with -fps: show the pictures of `FILE`, of the size of the window and BGRx, one after the other, forth and back")
	fs.DurationVar(&o.rest, "rest", 0, "with -show: rest for `D` at both ends")
	fs.IntVar(&o.busy, "busy", 0, "compute without end in `N` threads")
	fs.BoolVar(&o.sound, "sound", false, "play a sine, by gst-launch-1.0")
	fs.BoolVar(&o.noWindow, "no-window", false, "run, but never show a window")
	fs.BoolVar(&o.secondWindow, "second-window", false, "close the first window and open a second one, as launchers do, at the first press")
	fs.BoolVar(&o.dialog, "dialog", false, "open a 200x100 dialog above the window at the first press")
	fs.BoolVar(&o.mouseLook, "mouse-look", false, "key g takes the mouse as a game does, key h gives it back and prints its motion")
	fs.BoolVar(&o.spawnChild, "spawn-child", false, "leave a grandchild running, in a session of its own; its pid is printed")
	fs.BoolVar(&o.crash, "crash", false, "end by SIGABRT, at once or after -exit-after")
	fs.DurationVar(&o.exitAfter, "exit-after", 0, "exit after `D`; with -attack, that long after the attacks")
	fs.IntVar(&o.exitCode, "exit-code", 0, "exit code `N` of each planned exit")
	fs.StringVar(&o.exitOnKey, "exit-on-key", "", "exit when key `NAME` is pressed: Escape, F4, or a character")
	fs.BoolVar(&o.ignoreTerm, "ignore-term", false, "ignore SIGTERM")
	fs.BoolVar(&o.env, "print-env", false, "print the environment first")
	fs.BoolVar(&o.echo, "echo-messages", false, "send each message of the page back to it")
	fs.StringVar(&o.script, "c", "", "run a shell `SCRIPT` beside the window")
	attacks := fs.String("attack", "", "once the window is there, attack the node and other seats: all, or `NAME,NAME`")
	fs.StringVar(&o.attackArgs, "attack-args", "", "what attack.Args says of the targets, as `JSON`")
	fs.StringVar(&o.bait, "bait", "", "keep this `SECRET` everywhere where an attack on this app could find it")
	fs.StringVar(&o.baitTag, "bait-tag", "nearcast-bait", "is in the names of all that -bait makes")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if *attacks != "" {
		var err error
		if o.attacks, err = attack.Parse(*attacks, o.attackArgs); err != nil {
			return o, err
		}
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	w, h, ok := strings.Cut(*size, "x")
	var errW, errH error
	o.width, errW = strconv.Atoi(w)
	o.height, errH = strconv.Atoi(h)
	if !ok || errW != nil || errH != nil || o.width < 1 || o.height < 1 || o.width > 32767 || o.height > 32767 {
		return o, fmt.Errorf("-size %q is not of the form 640x480", *size)
	}
	if o.fps < 0 || o.fps > 1000 {
		return o, fmt.Errorf("-fps must be 0 to 1000")
	}
	if o.busy < 0 || o.busy > 1000 {
		return o, fmt.Errorf("-busy must be 0 to 1000")
	}
	if o.moving && o.fps == 0 {
		return o, fmt.Errorf("-moving needs -fps")
	}
	if o.show != "" && o.fps == 0 {
		return o, fmt.Errorf("-show needs -fps")
	}
	return o, nil
}

// line is an event as it is printed.
type line struct {
	Type    string `json:"type"`
	Keycode int    `json:"keycode,omitempty"`
	Keysym  uint32 `json:"keysym,omitempty"`
	Text    string `json:"text,omitempty"`
	Button  int    `json:"button,omitempty"`
	X       *int   `json:"x,omitempty"`
	Y       *int   `json:"y,omitempty"`
	State   int    `json:"state,omitempty"` // modifiers before the event
	Width   int    `json:"width,omitempty"`
	Height  int    `json:"height,omitempty"`
	PID     int    `json:"pid,omitempty"`
	Signal  string `json:"signal,omitempty"`
	// White is whether the window is white after the event.
	White *bool    `json:"white,omitempty"`
	Env   []string `json:"env,omitempty"`
}

func say(l line) { json.NewEncoder(os.Stdout).Encode(l) }

func main() {
	o, err := parse(os.Args[1:])
	switch {
	case err == flag.ErrHelp:
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "testapp:", err)
		os.Exit(2)
	}
	if attack.IsChild() && len(o.attacks) == 1 {
		if err := attack.RunHere(o.attacks[0], o.attackArgs, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "testapp:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "testapp:", err)
		os.Exit(1)
	}
	os.Exit(o.exitCode)
}

func run(o options) error {
	if o.env {
		say(line{Type: "env", Env: os.Environ()})
	}
	if o.spawnChild {
		pid, err := leaveChild()
		if err != nil {
			return fmt.Errorf("leave a child: %w", err)
		}
		say(line{Type: "child", PID: pid})
	}
	if o.echo {
		go func() {
			if err := echo(); err != nil {
				fmt.Fprintln(os.Stderr, "testapp:", err)
			}
		}()
	}
	compute(o.busy)
	if o.sound {
		if err := beside("gst-launch-1.0", "-q", "audiotestsrc", "wave=sine", "freq=440", "volume=0.3", "is-live=true", "!", "pulsesink"); err != nil {
			return fmt.Errorf("play a sine: %w", err)
		}
	}
	if o.script != "" {
		if err := beside("/bin/sh", "-c", o.script); err != nil {
			return fmt.Errorf("run the script: %w", err)
		}
	}
	quit := make(chan struct{}, 3)
	if o.exitAfter > 0 && len(o.attacks) == 0 || o.crash {
		time.AfterFunc(o.exitAfter, func() {
			if o.crash {
				abort()
			}
			quit <- struct{}{}
		})
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	if o.ignoreTerm {
		signal.Notify(signals, syscall.SIGTERM)
	}
	go func() {
		for s := range signals {
			say(line{Type: "signal", Signal: s.String()})
		}
	}()
	if o.noWindow {
		say(line{Type: "ready"})
		go misbehave(o)
		<-quit
		return nil
	}
	return show(o, quit)
}

// compute keeps n threads busy, beside those that this process has anyway.
func compute(n int) {
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
	for range n {
		go func() {
			runtime.LockOSThread()
			for odd := uint64(1); odd != 0; odd += 2 {
			}
		}()
	}
}

// beside runs a program until it ends, or this process does.
func beside(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the signal comes when the thread that started it ends
		started <- cmd.Start()
		_ = cmd.Wait()
	}()
	return <-started
}

// leaveChild starts a process that outlives this one, in a session of its own.
func leaveChild() (int, error) {
	out, err := exec.Command("/bin/sh", "-c", "setsid sleep 100000 >/dev/null 2>&1 </dev/null & echo $!").Output()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

// abort ends the process by SIGABRT, which Go would catch.
func abort() {
	signal.Reset(syscall.SIGABRT)
	var reset [4]uint64 // struct sigaction of all zeros: the default action
	sigaction(syscall.SIGABRT, &reset)
	syscall.Kill(syscall.Getpid(), syscall.SIGABRT)
	select {}
}

// misbehave lays out the bait and runs the attacks, beside the window.
func misbehave(o options) {
	if o.bait != "" {
		if err := attack.Bait(o.baitTag, o.bait, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "testapp:", err)
			os.Exit(1)
		}
	}
	if len(o.attacks) > 0 {
		if err := attack.Run(o.attacks, o.attackArgs, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "testapp:", err)
			os.Exit(1)
		}
		if o.exitAfter > 0 {
			time.AfterFunc(o.exitAfter, func() { os.Exit(o.exitCode) })
		}
	}
}
