package dev

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// probes is without keep-alive, so that it leaves no connection behind.
var probes = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// get asks one of the site's servers.
func (c *Cluster) get(ctx context.Context, url string) ([]byte, error) {
	return getBy(ctx, c.http, url)
}

func httpGet(ctx context.Context, url string) ([]byte, error) { return getBy(ctx, probes, url) }

func getBy(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", url, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s says %s", url, res.Status)
	}
	return body, nil
}
