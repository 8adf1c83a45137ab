# @title On Colab, run this cell first. Anywhere else it does nothing.
import sys

if "google.colab" in sys.modules:
    import subprocess
    from importlib import metadata
    from pathlib import Path

    def versions() -> dict[str, str]:
        """Version of each installed package by its name."""
        return {each.name.lower(): each.version for each in metadata.distributions()}

    # Colab's own builds fit its GPU and its page: pip leaves them as they are, or stops.
    own = ("torch", "torchvision", "torchaudio", "numpy", "ipywidgets", "ipykernel")
    before = versions()
    homes = metadata.packages_distributions()
    imported = {name.lower() for module in sys.modules for name in homes.get(module, ())}
    Path("/tmp/pcvr-own.txt").write_text("".join(f"{name}=={before[name]}\n" for name in own if name in before))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", "/tmp/pcvr-own.txt"]
    done = subprocess.run([*install, "pcvr @ git+REPOSITORY"], capture_output=True, text=True)
    after = versions()
    old = sorted(name for name in imported & before.keys() if after.get(name) != before[name])
    if done.returncode:
        print("pcvr could not be installed:", (done.stderr.strip() or "pip gave no reason").splitlines()[-1])
        print("Choose Runtime > Disconnect and delete runtime, then run this cell again.")
    elif old:  # it was imported before, and stays in its old version until a restart
        print("pcvr is installed, with new versions of", ", ".join(old))
        print("Choose Runtime > Restart session, then run the notebook from the top.")
    else:
        print("pcvr is installed; Colab's own torch and numpy stay. Runtime > Change runtime type offers a GPU.")
