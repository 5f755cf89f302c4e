"""`stepstar export --push`: a finished export as a data set on the hub, private until its owner says otherwise.

Everything that can be known before the export is made is checked before it: the name and that there is a token. Nothing
is taken from the hub.
"""

from __future__ import annotations

from pathlib import Path

from data.errors import UserError


def check_push(repo: str) -> None:
    """Raise a UserError if nothing can be pushed to `repo` from here: a bad name, or no token."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"'{repo}' is no name of a repository.", "Write OWNER/NAME, e.g. --push me/sums.") from error
    if not get_token():
        raise UserError("there is no token for the hub.", "Set HF_TOKEN, or log in with `hf auth login`.")


def push_export(folder: Path, repo: str) -> str:
    """Upload an export; what the data set had before and this export has not is deleted.

    Args:
        folder: of the export.
        repo: `owner/name`; made, as a private data set, if it is not there.

    Returns:
        The address of the last commit.

    Raises:
        UserError: the hub cannot be reached, or refuses.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    api = HfApi()
    try:
        name = api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True).repo_id
        done = api.upload_folder(
            repo_id=name, repo_type="dataset", folder_path=folder, delete_patterns="*", commit_message="stepstar export"
        )
    except (httpx.HTTPError, OSError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"cannot push to '{repo}' at {api.endpoint}: {said}",
            f"Check the network and the token's rights; the export itself is whole: hf upload {repo} {folder} . "
            "--repo-type dataset",
        ) from error
    return str(done.commit_url)
