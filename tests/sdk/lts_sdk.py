"""Tries the service's own Python SDK, unchanged, on `tailwater serve`.

Usage: lts_sdk.py BINARY

Starts the server on a port that is free and a directory of its own, once with tokens and once without, and has the SDK create a
group and a stream, list both, change the TTL, read logs and delete both. Ends with a status other than 0 where an answer is not
what the service would give.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time

import requests
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcore.http.http_config import HttpConfig
from huaweicloudsdklts.v2 import (
    CreateLogGroupParams,
    CreateLogGroupRequest,
    CreateLogStreamParams,
    CreateLogStreamRequest,
    DeleteLogGroupRequest,
    DeleteLogStreamRequest,
    ListLogGroupsRequest,
    ListLogsRequest,
    ListLogStreamRequest,
    LtsClient,
    QueryLtsLogParams,
    TagsBody,
    UpdateLogGroupParams,
    UpdateLogGroupRequest,
    UpdateLogStreamParams,
    UpdateLogStreamRequest,
)

PROJECT = "2a473356cca5487f8373be891bffc1cf"
TOKEN = "a-token-of-the-project"


def client(endpoint, token):
    # The SDK signs with a key of its own; a server without tokens looks at neither, one with tokens at X-Auth-Token only.
    credentials = BasicCredentials("access-key", "secret-key", PROJECT)
    config = HttpConfig.get_default_config()
    made = LtsClient.new_builder().with_http_config(config).with_credentials(credentials).with_endpoint(endpoint).build()
    if token:
        made.preset_headers = {"X-Auth-Token": token}
    return made


def expect(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: {found!r} and not {expected!r}")


def refused(call, status, code):
    try:
        call()
    except ClientRequestException as err:
        expect((err.status_code, err.error_code), (status, code), "the refusal")
        return
    raise AssertionError(f"{code} did not come")


def life(endpoint, token):
    lts = client(endpoint, token)
    tags = [TagsBody(key="team", value="core"), TagsBody(key="empty", value="")]

    body = CreateLogGroupParams(log_group_name="lts-group-01nh", ttl_in_days=7, tags=tags)
    group = lts.create_log_group(CreateLogGroupRequest(body=body)).log_group_id
    expect(len(group), 36, "a group's id")
    refused(lambda: lts.create_log_group(CreateLogGroupRequest(body=body)), 400, "LTS.0101")

    body = CreateLogStreamParams(log_stream_name="lts-stream-02kh", ttl_in_days=30, tags=tags)
    stream = lts.create_log_stream(CreateLogStreamRequest(log_group_id=group, body=body)).log_stream_id
    expect(len(stream), 36, "a stream's id")
    wrong = CreateLogStreamParams(log_stream_name="_hidden")
    refused(lambda: lts.create_log_stream(CreateLogStreamRequest(log_group_id=group, body=wrong)), 400, "LTS.0009")

    (found,) = [one for one in lts.list_log_groups(ListLogGroupsRequest()).log_groups if one.log_group_id == group]
    expect((found.log_group_name, found.ttl_in_days), ("lts-group-01nh", 7), "the group listed")
    expect(found.tag, {"team": "core", "empty": ""}, "its tags")
    expect(abs(found.creation_time / 1000 - time.time()) < 600, True, "its time in milliseconds")
    (found,) = lts.list_log_stream(ListLogStreamRequest(log_group_id=group)).log_streams
    expect((found.log_stream_id, found.log_stream_name), (stream, "lts-stream-02kh"), "the stream listed")
    expect((found.ttl_in_days, found.tag), (30, {"team": "core", "empty": ""}), "its TTL and tags")

    body = UpdateLogStreamParams(ttl_in_days=3)
    request = UpdateLogStreamRequest(log_group_id=group, log_stream_id=stream, body=body)
    found = lts.update_log_stream(request)
    expect((found.log_topic_id, found.log_topic_name, found.ttl_in_days), (stream, "lts-stream-02kh", 3), "the stream updated")
    found = lts.update_log_group(UpdateLogGroupRequest(log_group_id=group, body=UpdateLogGroupParams(ttl_in_days=5)))
    expect((found.log_group_id, found.ttl_in_days), (group, 5), "the group updated")

    # The SDK has no call that writes.
    path = f"/v2/{PROJECT}/lts/groups/{group}/streams/{stream}/tenant/contents"
    logs = {
        "log_time_ns": time.time_ns(),
        "contents": ["first", "second", "third"],
        "labels": {"level": "error", "service": "front", "host": "h1"},
    }
    written = requests.post(endpoint + path, json=logs, headers={"X-Auth-Token": token or "any"}, timeout=30)
    expect(written.status_code, 200, "the write")

    # Milliseconds as text; an hour round now.
    now = int(time.time() * 1000)
    span = {"start_time": str(now - 3_600_000), "end_time": str(now + 3_600_000)}

    def read(**more):
        body = QueryLtsLogParams(**span, **more)
        return lts.list_logs(ListLogsRequest(log_group_id=group, log_stream_id=stream, body=body))

    page = read(limit=2)
    expect((page.count, page.is_query_complete), (2, False), "the first page")
    expect([log.content for log in page.logs], ["first", "second"], "its logs")
    expect(page.logs[0].labels, logs["labels"], "their labels")
    page = read(line_num=page.logs[-1].line_num, search_type="forwards")
    expect(([log.content for log in page.logs], page.is_query_complete), (["third"], True), "the second page")
    expect([log.content for log in read(is_desc=True).logs], ["third", "second", "first"], "backwards")
    expect([log.content for log in read(keywords="seco").logs], ["second"], "by keyword")
    expect(read(labels={"host": "h2"}).count, 0, "by a label of none")

    lts.delete_log_stream(DeleteLogStreamRequest(log_group_id=group, log_stream_id=stream))
    expect(lts.list_log_stream(ListLogStreamRequest(log_group_id=group)).log_streams, [], "no stream")
    refused(lambda: read(), 400, "LTS.0208")
    lts.delete_log_group(DeleteLogGroupRequest(log_group_id=group))
    refused(lambda: lts.list_log_stream(ListLogStreamRequest(log_group_id=group)), 400, "LTS.0201")


def serve(binary, token):
    with tempfile.TemporaryDirectory() as place:
        arguments = [binary, "serve", "--listen", "127.0.0.1:0", "--data", os.path.join(place, "data")]
        if token:
            tokens = os.path.join(place, "tokens")
            with open(tokens, "w", encoding="ascii") as file:
                file.write(f"{token} {PROJECT}\n")
            arguments += ["--tokens", tokens]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as server:
            try:
                endpoint = server.stdout.readline().strip().removeprefix("listening on ")
                life(endpoint, token)
                if token:
                    refused(lambda: client(endpoint, "another").list_log_groups(ListLogGroupsRequest()), 401, "LTS.0003")
            finally:
                server.send_signal(signal.SIGTERM)
        expect(server.returncode, 0, "the server's end")


if __name__ == "__main__":
    for kept in [TOKEN, None]:
        serve(sys.argv[1], kept)
    print("the SDK creates, lists, updates, reads and deletes, with tokens and without")
