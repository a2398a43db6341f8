// MongoDB's protocol for tests: FerretDB's embeddable package with its SQLite backend, one folder of files.
//
// Ends with SIGTERM or SIGINT.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "address and port to listen at")
	data := flag.String("data", "", "existing folder for the databases, as an absolute path")
	flag.Parse()
	if err := serve(*listen, *data); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func serve(listen, data string) error {
	// Data of tests need not survive a loss of power, so not every commit waits for the disk.
	files := url.URL{Scheme: "file", Path: data + "/", RawQuery: "_pragma=synchronous(normal)"}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	database, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: listen},
		Handler:   "sqlite",
		SQLiteURL: files.String(),
		Logger:    logger,
	})
	if err != nil {
		return err
	}
	running, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	return database.Run(running)
}
