"""Runs in a pod: reads a question in JSON and answers it from a tenant's database, by the tenant's own address."""

import json
import sys
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure


def refused(attempt: Any) -> bool:
    """Whether the database forbids it."""
    try:
        attempt()
    except OperationFailure as error:
        return error.code == 13  # Unauthorized
    return False


def main() -> None:
    """One question, one answer."""
    ask = json.load(sys.stdin)
    client: MongoClient[dict[str, Any]] = MongoClient(ask["uri"], serverSelectionTimeoutMS=30_000)
    logs = client.get_default_database().processed_logs
    answer: Any
    match ask["question"]:
        case "records":
            answer = [[one["_id"], one["modified_data"]] for one in logs.find({}, {"modified_data": 1})]
        case "count":
            answer = logs.count_documents({})
        case "one":
            answer = logs.find_one({"_id": ask["id"]}, {"modified_data": 1, "tenant_id": 1})
        case "rights":
            other = client[ask["database"]].processed_logs
            answer = {
                "reads its own": logs.find_one() is not None,
                "may not read another's": refused(other.find_one),
                "may not list another's": refused(lambda: client[ask["database"]].list_collection_names()),
                "may not insert": refused(lambda: logs.insert_one({"_id": "forged"})),
                "may not delete": refused(lambda: logs.delete_many({})),
                "may not drop": refused(lambda: client.drop_database(logs.database.name)),
            }
        case question:
            raise SystemExit(f"unknown question {question}")
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
