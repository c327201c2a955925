package testkit

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// get reads a page of a server's API, as the owner of a token if there is one, and
// leaves no connection open.
func get(ctx context.Context, url, token string) ([]byte, error) {
	return ask(ctx, http.MethodGet, url, token)
}

func ask(ctx context.Context, method, url, token string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, res.Status, body)
	}
	return body, err
}
