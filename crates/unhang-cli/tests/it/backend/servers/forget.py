import socket, sys, threading
kept = []
def serve(connection):
    connection.sendall(connection.recv(65536).upper())
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen(64)
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    kept.append(connection)
    threading.Thread(target=serve, args=(connection,)).start()
