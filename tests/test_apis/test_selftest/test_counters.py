import pytest
import torch

from mmmaskdino.apis.selftest import OperationCounter


def count(function):
    counter = OperationCounter()
    with counter:
        function()
    return counter


def test_operations_and_gradients():
    x = torch.randn(3, requires_grad=True)
    counter = count(lambda: (x * 2).sum().backward())
    assert counter.operations['mul'] == 2 and counter.operations['sum'] == 1 and not counter.waits


def test_reads_of_values_and_of_sizes_are_waits():
    x, index = torch.randn(5), torch.randint(3, (5,))
    assert count(lambda: x.sum().item()).waits == {'_local_scalar_dense': 1}
    assert count(lambda: bool((x > 0).all())).waits == {'_local_scalar_dense': 1}
    assert count(lambda: (x > 0).nonzero()).waits == {'nonzero': 1}
    assert sum(count(lambda: x[x > 0]).waits.values()) == 1
    assert not count(lambda: x[index]).waits
    assert sum(count(lambda: x.repeat_interleave(index)).waits.values()) == 1
    assert not count(lambda: x.repeat_interleave(2)).waits


def test_what_follows_a_copy_to_the_host_waits_no_more():
    x = torch.randn(5)
    assert count(lambda: [value.item() for value in (x.cpu() * 2)]).waits == {'cpu': 1}
    assert count(lambda: x.cpu().cpu()).waits == {'cpu': 1}


def test_it_counts_on():
    counter, x = OperationCounter(), torch.randn(3)
    for _ in range(2):
        with counter:
            x.sum().item()
    assert counter.waits == {'_local_scalar_dense': 2}


@pytest.mark.parametrize(
    ('copy', 'waits'),
    [
        (lambda x: x.new_tensor([1.0, 2.0]), {'new_tensor': 1}),
        (lambda x: torch.tensor([1.0], device=x.device), {'tensor': 1}),
        (lambda x: torch.as_tensor([1.0], device=x.device), {'as_tensor': 1}),
        (lambda x: torch.tensor([1.0]).to(x.device), {'to': 1}),
        (lambda x: torch.ones(2).to(x), {'to': 1}),
        (lambda x: (2 * torch.arange(3)).to(device=x.device), {'to': 1}),
        (lambda x: x.copy_(torch.zeros(5)), {'copy_': 1}),
        (lambda x: x[torch.tensor([0, 1])], {'index': 1}),
        (lambda x: torch.tensor([1.0]).to(x.device, non_blocking=True) + x, {}),
        (lambda x: x.copy_(torch.zeros(5), non_blocking=True), {}),
        (lambda x: x[torch.tensor([0, 1]).to(x.device, non_blocking=True)], {}),
        (lambda x: torch.arange(3, device=x.device).to(x.device), {}),
        (lambda x: torch.tensor([1.0]).to(torch.float64), {}),
        (lambda x: x.to(x.device), {}),
        (lambda x: (x.new_full((), 2.0), torch.zeros_like(x), torch.tensor(1)), {}),
    ],
)
def test_blocking_copies_to_the_device_are_waits(copy, waits):
    x = torch.randn(5)
    assert +count(lambda: copy(x)).waits == waits


def test_what_was_copied_to_the_device_is_there():
    def read():
        torch.tensor([1.0]).to(torch.device('cpu'), non_blocking=True).item()

    assert +count(read).waits == {'_local_scalar_dense': 1}
    assert not count(lambda: torch.tensor([1.0]).item()).waits
