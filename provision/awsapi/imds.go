package awsapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// IMDS reads the instance metadata service, by version 2 only.
type IMDS struct{ client *imds.Client }

// NewIMDS returns a client of the metadata service. The endpoint is the one of the
// options, else of AWS_EC2_METADATA_SERVICE_ENDPOINT, else EC2's.
func NewIMDS(options imds.Options) *IMDS {
	// Version 1 has no token: an app that makes the node send a request could read it.
	options.EnableFallback = aws.FalseTernary
	if options.HTTPClient == nil {
		// Only the node itself can reach the address: no proxy.
		options.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.Proxy = nil })
	}
	return &IMDS{imds.New(options)}
}

// ErrNoMetadata means that the service answers and has no such entry: for example, no
// interruption is planned.
var ErrNoMetadata = errors.New("the metadata service has no such entry")

// Get returns one entry, such as "spot/instance-action" or "public-ipv4".
func (m *IMDS) Get(ctx context.Context, path string) (string, error) {
	out, err := m.client.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	if answer := (*smithyhttp.ResponseError)(nil); errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusNotFound {
		return "", fmt.Errorf("%s: %w", path, ErrNoMetadata)
	}
	if err != nil {
		return "", fmt.Errorf("read metadata %s: %w", path, err)
	}
	defer out.Content.Close()
	text, err := io.ReadAll(io.LimitReader(out.Content, 64<<10))
	if err != nil {
		return "", fmt.Errorf("read metadata %s: %w", path, err)
	}
	return strings.TrimSpace(string(text)), nil
}
