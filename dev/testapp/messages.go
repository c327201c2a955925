package main

import (
	"context"
	"fmt"
	"os"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

// echo sends each message of the page back to it, until the seat ends.
func echo() error {
	ctx := context.Background()
	conn, _, err := websocket.Dial(ctx, os.Getenv(wire.MessagesEnv), nil)
	if err != nil {
		return fmt.Errorf("connect to the seat: %w", err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(wire.MaxAppMessage)
	for {
		kind, m, err := conn.Read(ctx)
		if err == nil {
			err = conn.Write(ctx, kind, m)
		}
		if err != nil {
			return fmt.Errorf("echo messages: %w", err)
		}
	}
}
