package dev

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/nearcast/nearcast/internal/wire"
)

// plainClient keeps no connection open.
var plainClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// Get asks one of the site's servers, from the site's own network.
func (c *Cluster) Get(ctx context.Context, url string) ([]byte, error) {
	return get(ctx, c.http, url)
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
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
		return nil, fmt.Errorf("%s answers %s", url, res.Status)
	}
	return body, nil
}

// AppList asks the cluster's router which apps there are, and their capacity. in is
// the network of the cluster; nil is the network of this process.
func (s State) AppList(ctx context.Context, in Network) (wire.AppsResponse, error) {
	return appList(ctx, Location{Network: in}.client(), s.URL)
}

// AppList asks the router which apps there are, and their capacity.
func (c *Cluster) AppList(ctx context.Context) (wire.AppsResponse, error) {
	return appList(ctx, c.http, c.URL)
}

func appList(ctx context.Context, client *http.Client, url string) (apps wire.AppsResponse, err error) {
	body, err := get(ctx, client, url+"/v1/apps")
	if err != nil {
		return apps, err
	}
	if err := json.Unmarshal(body, &apps); err != nil {
		return apps, fmt.Errorf("parse the router's apps: %w", err)
	}
	return apps, nil
}
