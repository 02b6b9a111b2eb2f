"""A name server that says 127.0.0.1 to every name and, where a certificate is given, TLS in front of a plain HTTP server.

Usage: network.py NAMESERVER_ADDRESS [CERTIFICATE_AND_KEY UPSTREAM_PORT]. Prints a line once it is ready: with TLS, its port.
"""
import socket
import ssl
import sys
import threading


def answer(query):
    """The answer to a DNS query: 127.0.0.1 for A, nothing for anything else."""
    end = query.index(b"\0", 12) + 5
    question = query[12:end]
    is_a = question[-4:-2] == b"\0\1"
    header = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + bytes([127, 0, 0, 1])
    return header + question + (record if is_a else b"")


def serve_names(server):
    while True:
        query, asker = server.recvfrom(4096)
        server.sendto(answer(query), asker)


def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve_tls(connection, context, upstream):
    try:
        secure = context.wrap_socket(connection, server_side=True)
    except OSError:
        # The client does not trust the certificate.
        return
    plain = socket.create_connection(("127.0.0.1", upstream))
    threading.Thread(target=copy, args=(plain, secure), daemon=True).start()
    copy(secure, plain)


def main():
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind((sys.argv[1], 53))
    if len(sys.argv) == 2:
        print("ready", flush=True)
        serve_names(names)
    certificate, upstream = sys.argv[2], int(sys.argv[3])
    threading.Thread(target=serve_names, args=(names,), daemon=True).start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=serve_tls, args=(connection, context, upstream), daemon=True).start()


main()
