// A MongoDB wire server for tests: FerretDB on SQLite, in one process and one folder.
//
//	ferretdb <address:port> <folder>
//
// A port of 0 takes a free one. Prints the URL as one line when it listens; ends on SIGTERM or SIGINT.
//
// FerretDB's own command cannot be installed from the module proxy: it insists on a version file that its release build
// writes, and stops at start without it. Its embeddable package is the same server, without that file and without telemetry.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("expected <address:port> <folder>, got %q", os.Args[1:]))
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	server, err := ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{TCP: "127.0.0.1:0"},
		Handler:  "sqlite",
		// A killed process loses nothing by it; only a power cut would.
		SQLiteURL: "file:" + os.Args[2] + "/?_pragma=synchronous(off)",
	})
	if err != nil {
		fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	inner := strings.Trim(strings.TrimPrefix(server.MongoDBURI(), "mongodb://"), "/")
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fail(err)
	}
	go accept(listener, inner)
	fmt.Printf("mongodb://%s/\n", listener.Addr())
	if err := <-ended; err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
