// Package app runs the app of a seat: the one program that nobody here wrote.
//
//	p, err := app.Start(ctx, app.Config{
//		Cell: cell, Command: "f3d", Args: []string{"local/engine.glb"},
//		Env: env, Dir: taskDir,
//	})
//	…
//	<-p.Done()
//	code, signal := p.Exit()
//
// It runs in the seat's cell (seat/cell), as the seat's user, without any privilege,
// and with exactly the environment that it was given.
package app

import (
	"cmp"
	"context"
	"maps"
	"os"
	"slices"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
)

// Config says what to run.
type Config struct {
	Cell *cell.Client
	// Command is a path, absolute or below Dir, or a name, which is looked up in
	// the PATH of Env, then in Dir.
	Command string
	Args    []string
	// Env is the whole environment: nothing is inherited. HOME, XDG_RUNTIME_DIR, USER,
	// LOGNAME and PATH are added if they are missing. It must hold the variables of
	// display and sound server.
	Env map[string]string
	// Tools is a directory that is added to the end of PATH; empty is none.
	Tools string
	// Dir is the working directory.
	Dir string
	// Stdout and Stderr get what the app prints; nil is /dev/null.
	Stdout, Stderr *os.File
}

// Start starts the app. The context bounds the start only. An error that the
// publisher or the operator can correct is a wire.End.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	started, err := cfg.Cell.Start(ctx, cell.Program{
		Name: cell.App, Path: cfg.Command, Args: append([]string{cfg.Command}, cfg.Args...),
		Env: environment(cfg), Dir: cfg.Dir, SearchPath: searchPath(cfg.Env),
	}, nil, cfg.Stdout, cfg.Stderr)
	if err != nil {
		return nil, err
	}
	return &Process{cell: cfg.Cell, process: started}, nil
}

// Check reports whether Start would find the command, without starting it.
func Check(ctx context.Context, cfg Config) error {
	if err := cfg.check(); err != nil {
		return err
	}
	return cfg.Cell.Find(ctx, cell.Program{Name: cell.App, Path: cfg.Command, Dir: cfg.Dir, SearchPath: searchPath(cfg.Env)})
}

func (cfg Config) check() error {
	switch {
	case cfg.Command == "":
		return problem(wire.CodeAppNotFound, "the task has no command")
	case cfg.Dir == "":
		return problem(wire.CodeConfig, "the task has no working directory")
	}
	return nil
}

func problem(code, detail string) error {
	return wire.End{Reason: wire.ReasonError, Code: code, Detail: detail}
}

const defaultPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"

func searchPath(env map[string]string) string {
	if p := env["PATH"]; p != "" {
		return p
	}
	return defaultPath
}

// environment adds to the given one what is missing.
func environment(cfg Config) []string {
	env := map[string]string{
		"HOME": cfg.Cell.Home(), "XDG_RUNTIME_DIR": cfg.Cell.Runtime(), "PATH": defaultPath,
	}
	if name := cfg.Cell.User(); name != "" {
		env["USER"], env["LOGNAME"] = name, name
	}
	maps.Copy(env, cfg.Env)
	if cfg.Tools != "" {
		env["PATH"] = cmp.Or(env["PATH"], defaultPath) + ":" + cfg.Tools
	}
	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return list
}
