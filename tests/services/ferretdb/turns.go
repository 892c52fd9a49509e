// MongoDB applies an update to a document as one step. FerretDB 1 reads the document, computes the new one and writes it
// back, with nothing that keeps others out: of twenty that ask for `{rev: 0}` to become `{rev: 1}` at once, seven are told
// that they did it. So writes to one collection take turns here, in front of it; what MongoDB promises holds again.
package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
)

var writes = map[string]bool{"insert": true, "update": true, "delete": true, "findAndModify": true, "createIndexes": true}

var (
	turnsLock sync.Mutex
	turns     = map[string]*sync.Mutex{}
)

func turnOf(namespace string) *sync.Mutex {
	turnsLock.Lock()
	defer turnsLock.Unlock()
	if turns[namespace] == nil {
		turns[namespace] = &sync.Mutex{}
	}
	return turns[namespace]
}

func accept(listener net.Listener, inner string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer client.Close()
			server, err := net.Dial("tcp", inner)
			if err != nil {
				return
			}
			defer server.Close()
			for exchange(client, server) == nil {
			}
		}()
	}
}

// One request and its answer. Drivers send one request at a time on a connection.
func exchange(client, server net.Conn) error {
	request, err := message(client)
	if err != nil {
		return err
	}
	answer, err := ask(server, request)
	if err != nil {
		return err
	}
	_, err = client.Write(answer)
	return err
}

func ask(server net.Conn, request []byte) ([]byte, error) {
	if namespace := written(request); namespace != "" {
		turn := turnOf(namespace)
		turn.Lock()
		defer turn.Unlock()
	}
	if _, err := server.Write(request); err != nil {
		return nil, err
	}
	answer, err := message(server)
	limitBatches(answer)
	return answer, err
}

// FerretDB 1 keeps a connection to SQLite for each operation of a command until all of them are done, and it has 100: a
// hundred replacements in one command wait for each other for ever. Drivers send as many at once as `hello` says.
const batchSize = 20

var batchField = []byte("\x10maxWriteBatchSize\x00")

func limitBatches(answer []byte) {
	at := bytes.Index(answer, batchField)
	if end := at + len(batchField); at >= 0 && end+4 <= len(answer) {
		binary.LittleEndian.PutUint32(answer[end:], batchSize)
	}
}

func message(from io.Reader) ([]byte, error) {
	header := make([]byte, 4)
	if _, err := io.ReadFull(from, header); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(header)
	if length < 16 || length > 64<<20 {
		return nil, io.ErrUnexpectedEOF
	}
	whole := make([]byte, length)
	copy(whole, header)
	_, err := io.ReadFull(from, whole[4:])
	return whole, err
}

const opMsg = 2013

// The collection that an OP_MSG writes to, with its database; empty for everything else. Its body, the section of kind 0,
// comes first with every driver that is used here.
func written(request []byte) string {
	if len(request) < 26 || binary.LittleEndian.Uint32(request[12:]) != opMsg || request[20] != 0 {
		return ""
	}
	body := request[21:]
	command, collection, database := "", "", ""
	for at := 4; at < len(body) && body[at] != 0; {
		kind := body[at]
		end := at + 1
		for end < len(body) && body[end] != 0 {
			end++
		}
		name := string(body[at+1 : end])
		value := end + 1
		size := sizeOf(kind, body, value)
		if size < 0 || value+size > len(body) {
			return ""
		}
		if kind == 0x02 {
			text := string(body[value+4 : value+size-1])
			if command == "" {
				command, collection = name, text
			} else if name == "$db" {
				database = text
			}
		}
		if command == "" {
			return ""
		}
		at = value + size
	}
	if !writes[command] {
		return ""
	}
	return database + "." + collection
}

// Bytes of a BSON value (bsonspec.org); -1 for kinds that no command has at its top.
func sizeOf(kind byte, body []byte, at int) int {
	prefixed := func(extra int) int {
		if at+4 > len(body) {
			return -1
		}
		return int(binary.LittleEndian.Uint32(body[at:])) + extra
	}
	switch kind {
	case 0x01, 0x09, 0x11, 0x12:
		return 8
	case 0x02:
		return prefixed(4)
	case 0x03, 0x04:
		return prefixed(0)
	case 0x05:
		return prefixed(5)
	case 0x07:
		return 12
	case 0x08:
		return 1
	case 0x0A:
		return 0
	case 0x10:
		return 4
	}
	return -1
}
