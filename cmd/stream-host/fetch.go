package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/logs"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/content"
)

// fetch fetches the content of a seat for its keeper: as the keeper's user, in a
// process of its own, so that nothing else of the seat has the credentials of the
// object store.
func fetch(ctx context.Context) int {
	conn, err := cell.NewConn(os.NewFile(cell.KeeperFD, "keeper"))
	if err != nil {
		return cannotStart(err)
	}
	spec, err := seat.ReadSpec(os.NewFile(cell.SpecFD, "spec"))
	if err != nil {
		return cannotStart(err)
	}
	hold, err := content.Fetch(ctx, content.Request{
		Store: spec.S3, Items: spec.Content, Cache: spec.Cache, TaskDir: spec.TaskDir,
		// Through a link, an app that runs as the owner of the cache could change it.
		Private: os.Geteuid() != 0,
		Ahead:   spec.FetchOnly,
		Progress: seldom(func(done, total int64, name string) {
			_ = conn.Send(cell.Notice{Done: done, Total: total, File: name})
		}),
	})
	if err == nil && spec.FetchOnly { // nobody waits, and it is for the cache alone
		err = hold.Keep()
	}
	answer := cell.Notice{Answer: cell.RequestContent}
	var files []*os.File
	if err != nil {
		end := wire.End{Reason: wire.ReasonError, Code: wire.CodeContentStore, Detail: err.Error()}
		_ = errors.As(err, &end)
		answer.Failed = &end
	} else if use := hold.Use(); use != nil {
		files = append(files, use)
	}
	if err := conn.Send(answer, files...); err != nil {
		return cannotStart(err)
	}
	// The seat starts, while what arrived is written to the cache.
	if answer.Failed == nil {
		if err := hold.Keep(); err != nil {
			logs.New(os.Stderr, "content").Error("keep content in the cache: the next seat fetches it again", "error", err)
			if end, ok := content.Spoilt(err); ok {
				_ = conn.Send(cell.Notice{Spoilt: &end}) // the keeper has it in its log too
			}
		} else if err := hold.Prepare(ctx); err != nil {
			logs.New(os.Stderr, "content").Warn("the next seat of these files starts slower", "error", err)
		}
	}
	return 0
}

// seldom passes progress on ten times a second at most, and always the end.
func seldom(pass func(done, total int64, name string)) func(done, total int64, name string) {
	var mu sync.Mutex
	var last time.Time
	return func(done, total int64, name string) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); done == total || now.Sub(last) > 100*time.Millisecond {
			last = now
			pass(done, total, name)
		}
	}
}
