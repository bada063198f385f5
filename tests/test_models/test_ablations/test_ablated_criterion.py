import pytest
import torch

CHANGES = [dict(encoder_masks=False), dict(denoising_masks=False), dict(encoder_masks=False, denoising_masks=False)]


@pytest.mark.parametrize('changes', [{}, *CHANGES])
def test_mask_losses_are_left_out_and_the_others_stay(make_head, make_features, make_targets, changes):
    head, features, targets = make_head(), make_features(), make_targets([3, 1])
    ablated = make_head({'criterion': dict(type='AblatedCriterion', **changes)})
    ablated.load_state_dict(head.state_dict())
    losses = {}
    for name, part in (('whole', head), ('ablated', ablated)):
        torch.manual_seed(1)
        losses[name] = part.criterion(part.forward_train(features, targets), targets)
    gone = losses['whole'].keys() - losses['ablated'].keys()
    of_encoder = {'enc_loss_mask', 'enc_loss_dice'}
    of_denoising = {f'{stage}dn_loss_{term}' for stage in ('d0.', 'd1.', '') for term in ('mask', 'dice')}
    wanted = (set() if changes.get('encoder_masks', True) else of_encoder) | (
        set() if changes.get('denoising_masks', True) else of_denoising
    )
    assert gone == wanted
    for name, loss in losses['ablated'].items():
        torch.testing.assert_close(loss, losses['whole'][name])
