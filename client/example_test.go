package client_test

import (
	"context"
	"fmt"
	"os"

	"github.com/nearcast/nearcast/client"
)

// The same stands in docs/API.md.
func Example() {
	ctx := context.Background()
	c, err := client.New("https://play.example", os.Getenv("NEARCAST_API_KEY"))
	if err != nil {
		panic(err)
	}
	detached := []client.ListSessionsParamsState{client.ListSessionsParamsStateDetached}
	for session, err := range c.Sessions(ctx, client.ListSessionsParams{App: new("cad-viewer"), State: &detached}) {
		if err != nil {
			panic(err) // a client.Problem says what is wrong, and what to do
		}
		answer, err := c.EndSessionWithResponse(ctx, session.Session)
		if err == nil {
			err = client.Check(answer)
		}
		fmt.Println("ended", session.Session, err)
	}
}
