"""`python -m mm_lora` is `mm-lora`."""

from mm_lora.cli.app import main

if __name__ == "__main__":
    main()
