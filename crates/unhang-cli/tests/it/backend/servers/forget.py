import socket, sys, threading, time
kept = []
def serve(connection):
    request = connection.recv(65536)
    if request == b"nap\n":
        time.sleep(3600)
    connection.sendall(request.upper())
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen(64)
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    kept.append(connection)
    threading.Thread(target=serve, args=(connection,)).start()
