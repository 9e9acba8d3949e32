// Package unhang calls a server on a Unix socket and never hangs: the whole reply or an error, within one deadline.
//
//	client := unhang.Client{Path: "/run/app.sock", Timeout: 2 * time.Second}
//	reply, err := client.Call(ctx, []byte("hello"))
//	if errors.Is(err, unhang.NotClosed) { ... }
//
// Linux only. It imports nothing but the standard library.
package unhang
