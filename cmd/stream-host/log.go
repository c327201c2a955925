package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/nearcast/nearcast/internal/wire"
)

// openLog opens the log in the run directory, which outlives this process.
func openLog(spec wire.Spec) (*slog.Logger, error) {
	path := filepath.Join(spec.RunDir, wire.LogFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	log := slog.New(slog.NewJSONHandler(f, &slog.HandlerOptions{Level: slog.LevelInfo}))
	return log.With("alloc", spec.Alloc, "app", spec.App), nil
}
